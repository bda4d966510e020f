// Runs the page's service worker in Node; prints what it answers as JSON.
//
// node service_worker_test.mjs SERVICE_WORKER

import { readFileSync } from "node:fs";
import vm from "node:vm";

const SCOPE = "https://a.example/birds/";
const handlers = {};
const stored = new Map();
let isOnline = true;

const full = (name) => new URL(name.url ?? name, SCOPE).href;
const plain = (url) => url.split("?")[0];

async function fetchFile(request) {
  if (!isOnline) throw new TypeError("no network");
  const name = full(request).slice(SCOPE.length);
  return name === "missing" ? new Response("", { status: 404 }) : new Response(`new ${name}`);
}

const cache = {
  async put(request, response) {
    stored.set(full(request), response);
  },
  async addAll(requests) {
    for (const request of requests) await cache.put(request, await fetchFile(request));
  },
  async match(request, { ignoreSearch }) {
    const wanted = plain(full(request));
    const found = [...stored.keys()].find((url) => ignoreSearch && plain(url) === wanted);
    return stored.get(found)?.clone();
  },
};

const open = (url) => ({ url });
const self = {
  addEventListener: (kind, handler) => (handlers[kind] = handler),
  skipWaiting: async () => {},
  registration: { scope: SCOPE },
  clients: {
    claim: async () => {},
    matchAll: async () => [`${SCOPE}?photo#top`, "https://a.example/"].map(open),
  },
};
const caches = { open: async () => cache };
const code = readFileSync(process.argv[2], "utf8");
vm.runInNewContext(code, { self, caches, fetch: fetchFile, Set });

async function lifecycle(kind) {
  let done;
  handlers[kind]({ waitUntil: (promise) => (done = promise) });
  await done;
}

async function ask(url, method = "GET") {
  let answer = null;
  const pending = [];
  handlers.fetch({
    request: { url: full(url), method },
    respondWith: (promise) => (answer = promise),
    waitUntil: (promise) => pending.push(promise),
  });
  if (!answer) return "left to the browser";
  try {
    const response = await answer;
    await Promise.all(pending);
    return response.ok ? await response.text() : response.status;
  } catch (error) {
    return String(error);
  }
}

await lifecycle("install");
await lifecycle("activate");
const seen = { installed: [...stored.keys()].sort() };
seen.online = await ask("model.tflite");
seen.missing = await ask("missing");
seen.foreign = await ask("https://b.example/model.tflite");
seen.posted = await ask("model.tflite", "POST");
isOnline = false;
seen.offline = await ask("model.tflite");
seen.offlinePage = await ask("");
seen.offlineNeverSeen = await ask("missing");
console.log(JSON.stringify(seen));
