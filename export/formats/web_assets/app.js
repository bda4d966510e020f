// The page: takes photos, passes them to the worker, shows its answers.
"use strict";

const START = "The network cannot start. It needs all files of this page's folder, and a \
browser with WebAssembly SIMD: Chrome 91, Edge 91, Firefox 114, Safari 16.4 or later.";
const NO_LABEL = "None of the labels is certain enough."; // of a multi-label model
const CONTROL_MS = 5000; // to wait for the service worker at most
const at = (id) => document.getElementById(id);

let spec = null;
let configure = null; // resolves `configured`
const configured = new Promise((resolve) => { configure = resolve; }); // spec is here
let worker = null;
let isReady = false;
let hasFailed = false;
let opened = 0; // number of photos opened so far
let latest = 0; // number of the photo shown; answers for others are dropped
let waiting = null; // the photo to classify when the network is ready
let shownUrl = null;
let stream = null;

main();

async function main() {
  if (location.protocol === "file:") {
    fail("Browsers run this page only from a web server. In its folder, start one: \
python3 -m http.server");
    return;
  }
  listen(); // first, so that no button is dead while the page loads
  await keepForOffline();
  try {
    spec = await (await fetch("model.json")).json();
    configure();
    if (typeof WebAssembly !== "object" || typeof OffscreenCanvas !== "function") {
      throw new Error("WebAssembly or OffscreenCanvas is missing");
    }
    at("about").textContent = about(spec);
    worker = new Worker("worker.js");
    worker.onmessage = ({ data }) => HANDLERS[data.kind](data);
    worker.onerror = (event) => fail(START, event.message);
    worker.postMessage({ kind: "start", spec });
  } catch (error) {
    fail(START, error.message);
  }
}

// Only files that are loaded under the service worker's control are kept, so it comes
// first. Where there is none (plain HTTP, private windows), the page works online.
async function keepForOffline() {
  const container = navigator.serviceWorker;
  if (!container) return;
  try {
    const controlled = new Promise((resolve) => {
      container.oncontrollerchange = resolve;
      setTimeout(resolve, CONTROL_MS);
    });
    const { active } = await container.register("service_worker.js");
    // A forced reload bypasses a worker that is active already.
    if (!container.controller && !active) await controlled;
  } catch (error) {
    console.debug(`This page is not cached for offline use: ${error.message}`);
  }
}

const HANDLERS = {
  progress({ share }) {
    if (share > 0 && share < 1) {
      at("progress").value = share;
    } else {
      at("progress").removeAttribute("value"); // of unknown length
    }
  },

  ready() {
    isReady = true;
    at("loading").hidden = true;
    if (waiting) send(waiting);
    else say("Ready. Choose a photo.");
  },

  answer(data) {
    if (data.id === latest) show(data);
  },

  failed({ id, message }) {
    if (id === undefined) fail(START, message);
    else if (id === latest) complain(`The network failed on this photo (${message}).`);
  },
};

function about({ name, labels, image_size: size, model_bytes: bytes }) {
  const megabytes = (bytes / 1e6).toFixed(1);
  return `${name}: ${labels.length} classes, ${size} × ${size} pixels, ${megabytes} MB. \
Runs in this page with LiteRT.js.`;
}

function listen() {
  at("choose").onclick = () => at("file").click();
  at("empty").onclick = () => at("file").click();
  if (isPhone()) at("hint").textContent = "Choose or take a photo";
  at("take").onclick = takePhoto;
  at("take").hidden = !isPhone() && !navigator.mediaDevices?.getUserMedia;
  for (const id of ["file", "capture"]) {
    at(id).onchange = ({ target }) => {
      if (target.files[0]) open(target.files[0]);
      target.value = ""; // so that the same file can be chosen again
    };
  }
  document.addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData.files[0]) open(clipboardData.files[0]);
  });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, onDrag);
  }
  at("shoot").onclick = shoot;
  at("cancel").onclick = () => at("camera").close();
  at("camera").onclose = stopCamera;
}

function onDrag(event) {
  event.preventDefault(); // or the browser would leave the page for the file
  const leaves = event.type === "dragleave" && event.relatedTarget === null;
  at("photo").classList.toggle("over", event.type !== "drop" && !leaves);
  if (event.type !== "drop") return;
  if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  else complain("That was not a file. Save the picture first, then drop its file here.");
}

async function open(file) {
  if (hasFailed) return;
  const id = ++opened;
  const bitmap = await decode(file).catch(() => null);
  await configured;
  if (id !== opened) return;
  if (!bitmap) {
    complain(await whyUnreadable(file));
    return;
  }
  latest = id;
  at("alert").hidden = true;
  preview(file, bitmap);
  at("answer").classList.add("waiting");
  say(isReady ? "Looking at the photo." : "The photo is waiting for the model to load.");
  const photo = { id, bitmap };
  if (isReady) send(photo);
  else waiting = photo;
}

// Applies Exif orientation and ignores colour profiles, as evaluation does.
async function decode(file) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  try {
    return await createImageBitmap(file, { ...options, imageOrientation: "from-image" });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return createImageBitmap(file, options); // older browsers always apply orientation
  }
}

async function whyUnreadable(file) {
  const name = file.name || "This";
  const head = new TextDecoder("latin1").decode(await file.slice(4, 12).arrayBuffer());
  if (/^ftyp(hei|hev|mif1|msf1)/.test(head)) {
    return `${name} is a HEIC photo, which this browser cannot open. Save it as JPEG \
first (iPhone: Settings, Camera, Formats, Most Compatible).`;
  }
  return `${name} cannot be opened: it is not a photo, or it is damaged. JPEG, PNG, WebP, GIF and \
BMP files work.`;
}

function preview(file, bitmap) {
  if (shownUrl) URL.revokeObjectURL(shownUrl);
  shownUrl = URL.createObjectURL(file);
  at("picture").src = shownUrl;
  at("picture").alt = file.name ? `Your photo, ${file.name}` : "Your photo";
  at("map").hidden = true;
  at("empty").hidden = true;
  at("frame").hidden = false;
  at("photo").classList.add("filled");
  const { width, height } = bitmap;
  const shorter = Math.min(width, height);
  const isSquashed = spec.crop_mode === "squash";
  const columns = spec.crop_ratio * (isSquashed ? width : shorter);
  const rows = spec.crop_ratio * (isSquashed ? height : shorter);
  const style = at("crop").style;
  style.width = `${(100 * columns) / width}%`;
  style.height = `${(100 * rows) / height}%`;
  style.left = `${(50 * (width - columns)) / width}%`;
  style.top = `${(50 * (height - rows)) / height}%`;
}

function send({ id, bitmap }) {
  waiting = null;
  worker.postMessage({ kind: "classify", id, bitmap }, [bitmap]);
}

function show({ best, prepareMs, networkMs }) {
  at("list").replaceChildren(...best.map(makeRow));
  at("explain").hidden = !spec.maps || best.length === 0;
  at("time").textContent = `Network ${round(networkMs)} ms, crop and resize \
${round(prepareMs)} ms`;
  at("answer").hidden = false;
  at("main").classList.add("answered");
  at("answer").classList.remove("waiting");
  const isRejected = best[0]?.probability < spec.reject_threshold;
  at("answer-title").textContent = isRejected ? "Not recognised" : "What it shows";
  at("guesses").hidden = !isRejected;
  const listed = best.map(({ label, probability }) => `${label}, ${percent(probability)}`);
  if (best.length === 0) make("li", "quiet", at("list")).textContent = NO_LABEL;
  const start = isRejected ? "Not recognised. Best guesses" : "It shows";
  say(best.length ? `${start}: ${listed.join("; ")}.` : NO_LABEL);
}

function makeRow({ label, probability, map }) {
  const item = make("li", "");
  const row = make(map ? "button" : "div", "row", item);
  make("span", "label", row).textContent = label;
  row.append(" ");
  make("span", "share", row).textContent = percent(probability);
  make("span", "bar", make("span", "track", row)).style.width = `${100 * probability}%`;
  item.dataset.probability = probability;
  if (map) {
    row.type = "button";
    row.setAttribute("aria-pressed", "false");
    row.onclick = () => toggleMap(row, map);
  }
  return item;
}

function make(kind, className, parent) {
  const element = document.createElement(kind);
  element.className = className;
  parent?.append(element);
  return element;
}

function toggleMap(row, map) {
  const isWanted = row.getAttribute("aria-pressed") === "false";
  for (const other of at("list").querySelectorAll("[aria-pressed=true]")) {
    other.setAttribute("aria-pressed", "false");
  }
  row.setAttribute("aria-pressed", String(isWanted));
  if (isWanted) drawMap(map);
  at("map").hidden = !isWanted;
}

// The more a place supports the class, the redder and more opaque it is; the browser
// interpolates between places.
function drawMap(map) {
  const side = Math.sqrt(map.length);
  const highest = Math.max(...map, Number.MIN_VALUE);
  const image = new ImageData(side, side);
  map.forEach((value, place) => {
    const share = Math.max(0, value / highest);
    image.data.set([255, 215 * (1 - share), 0, 200 * share ** 1.5], 4 * place);
  });
  at("map").width = at("map").height = side;
  at("map").getContext("2d").putImageData(image, 0, 0);
}

function percent(share) {
  return share < 0.001 ? "under 0.1%" : `${(100 * share).toFixed(1)}%`;
}

function round(milliseconds) {
  return milliseconds < 10 ? milliseconds.toFixed(1) : milliseconds.toFixed(0);
}

function isPhone() {
  return matchMedia("(pointer: coarse)").matches;
}

// A phone's camera app takes better photos than a page can.
async function takePhoto() {
  if (isPhone() || !navigator.mediaDevices?.getUserMedia) {
    at("capture").click();
    return;
  }
  at("shoot").disabled = true;
  at("camera").showModal();
  try {
    const video = { facingMode: "environment", width: { ideal: 1280 } };
    stream = await navigator.mediaDevices.getUserMedia({ video });
    if (!at("camera").open) {
      stopCamera();
      return;
    }
    at("video").srcObject = stream;
    await at("video").play();
    at("shoot").disabled = false;
    at("shoot").focus();
  } catch (error) {
    if (!at("camera").open) return;
    at("camera").close();
    const isRefused = error.name === "NotAllowedError";
    complain(isRefused
      ? "The browser does not let this page use the camera. Allow it, or choose a photo."
      : "There is no camera that this page can use. Choose a photo instead.");
  }
}

async function shoot() {
  const canvas = document.createElement("canvas");
  canvas.width = at("video").videoWidth;
  canvas.height = at("video").videoHeight;
  canvas.getContext("2d").drawImage(at("video"), 0, 0);
  at("camera").close();
  canvas.toBlob((blob) => open(new File([blob], "camera.png", { type: "image/png" })));
}

function stopCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  at("video").srcObject = null;
}

function say(text) {
  at("status").textContent = text;
}

function complain(text) {
  say("");
  at("answer").classList.remove("waiting");
  at("alert").textContent = text;
  at("alert").hidden = false;
}

// For errors that no other photo would fix.
function fail(text, detail) {
  hasFailed = true;
  at("choose").disabled = at("take").disabled = true;
  at("loading").hidden = true;
  complain(detail ? `${text} (${detail})` : text);
}
