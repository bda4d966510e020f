// Keeps a copy of the page's files, so that it reloads without a network.
"use strict";

const CACHE = "image-classifier";
// What the browser loads before this worker controls the page, besides the page itself.
const FIRST = ["style.css", "app.js", "icon.svg", "manifest.webmanifest"];

self.addEventListener("install", (event) => {
  event.waitUntil(keepFirst().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(self.clients.claim());
});

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || !isOwn(event.request.url)) return;
  event.respondWith(answer(event));
});

function isOwn(url) {
  return url.startsWith(self.registration.scope);
}

async function keepFirst() {
  const options = { includeUncontrolled: true, type: "window" };
  const windows = await self.clients.matchAll(options);
  const pages = windows.map(({ url }) => url.split("#")[0]).filter(isOwn);
  const cache = await caches.open(CACHE);
  await cache.addAll([...new Set([...pages, ...FIRST])]);
}

// The server comes first, so that a newer export replaces an older one at once.
async function answer(event) {
  const { request } = event;
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.status === 200) {
      const stored = cache.put(request, response.clone());
      event.waitUntil(stored.catch(() => {})); // the browser's storage may be full
    }
    return response;
  } catch (error) {
    const options = { ignoreSearch: true, ignoreVary: true };
    const kept = await cache.match(request, options);
    if (kept) return kept;
    throw error;
  }
}
