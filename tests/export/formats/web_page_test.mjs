// Drives the exported page in Chromium; prints what it saw as JSON.
//
// node web_page_test.mjs PLAYWRIGHT_FOLDER CHROMIUM TASK_FILE. The task, JSON: `url` of the
// page, `photos` to choose, `unknown` photo that is not recognised, `broken` files that
// are no photos, `pictures` folder for screenshots, `block` part of URLs that must not
// load, `offline` file of `folder` to open from a server that then stops.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";

const [playwrightFolder, executablePath, taskFile] = process.argv.slice(2);
const require = createRequire(path.join(playwrightFolder, "package.json"));
const { chromium } = require("playwright-core");
const task = JSON.parse(readFileSync(taskFile, "utf8"));

const TYPES = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};
const browser = await chromium.launch({
  executablePath,
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
  ],
});
const seen = { errors: [], requests: [] };
try {
  if (task.block) {
    await visitBlocked(await openPage({}));
  } else if (task.offline !== undefined) {
    await visitOffline();
  } else {
    await visitOnDesk(await openPage({ viewport: { width: 1100, height: 760 } }));
    await visitOnPhone(
      await openPage({
        viewport: { width: 390, height: 844 },
        deviceScaleFactor: 2,
        isMobile: true,
        hasTouch: true,
        delayed: "model.json",
      }),
    );
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));

async function openPage({ delayed, ...options }, url = task.url) {
  const serviceWorkers = delayed ? "block" : "allow"; // or it would load the file
  const context = await browser.newContext({
    reducedMotion: "reduce", serviceWorkers, ...options,
  });
  context.on("request", (request) => seen.requests.push(request.url()));
  if (task.block) await context.route(`**/*${task.block}*`, (route) => route.abort());
  if (delayed) {
    await context.route(`**/${delayed}`, async (route) => {
      await new Promise((resolve) => setTimeout(resolve, 3000));
      await route.continue();
    });
  }
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") seen.errors.push(message.text());
  });
  await page.goto(url);
  return page;
}

async function visitBlocked(page) {
  seen.alert = await alertText(page);
  seen.disabled = await page.locator("#choose").isDisabled();
}

async function visitOffline() {
  seen.loaded = [];
  const server = http.createServer(serveFile);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}/`;
  const isUp = () => fetch(url).then(() => true, () => false);
  seen.isServed = [await isUp()];
  seen.loaded = [];
  const page = await openPage({}, url + task.offline);
  await page.getByText("Ready.").waitFor({ state: "attached" });
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  seen.isServed.push(await isUp());
  await page.reload();
  await page.getByText("Ready.").waitFor({ state: "attached" });
  seen.title = await page.title();
  seen.rows = (await choose(page, task.photos[0])).rows;
}

function serveFile(request, response) {
  const name = request.url === "/" ? "index.html" : request.url.slice(1);
  seen.loaded.push(name);
  try {
    const content = readFileSync(path.join(task.folder, name));
    const type = TYPES[path.extname(name)] ?? "application/octet-stream";
    response.writeHead(200, { "Content-Type": type, "Cache-Control": "no-store" });
    response.end(content);
  } catch {
    response.writeHead(404).end();
  }
}

async function visitOnDesk(page) {
  await page.getByText("Ready.").waitFor({ state: "attached" });
  seen.title = await page.title();
  seen.landmarks = [await page.locator("main").ariaSnapshot()];
  seen.answers = [];
  seen.titles = [];
  for (const photo of task.photos) {
    seen.answers.push(await choose(page, photo));
    seen.titles.push(await page.locator("#answer-title").textContent());
  }
  seen.time = await page.locator("#time").textContent();
  seen.landmarks.push(await page.locator("main").ariaSnapshot());
  await picture(page, "wide.png");
  seen.overflow = await findOverflow(page);
  seen.unknown = await chooseUnknown(page);
  seen.keyboard = await byKeyboard(page);
  seen.dropped = await drop(page, task.photos[0]);
  seen.camera = await byCamera(page);
  seen.alerts = {};
  for (const file of task.broken) {
    await page.setInputFiles("#file", file);
    seen.alerts[path.basename(file)] = await alertText(page);
    await choose(page, task.photos[0]);
    if (await page.locator("#alert").isVisible()) seen.errors.push("alert stays");
  }
}

async function chooseUnknown(page) {
  await page.setViewportSize({ width: 1100, height: 760 });
  const found = await choose(page, task.unknown);
  await picture(page, "unknown.png");
  const title = await page.locator("#answer-title").textContent();
  const boxes = [];
  for (const id of ["#frame", "#picture", "#crop"]) {
    boxes.push(await page.locator(id).boundingBox());
  }
  const hasGuesses = await page.locator("#guesses").isVisible();
  return { ...found, title, hasGuesses, boxes };
}

// Here a photo is taken before the network is ready.
async function visitOnPhone(page) {
  await page.getByRole("heading", { name: seen.title }).waitFor();
  const chooser = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Take photo" }).tap();
  await (await chooser).setFiles(task.photos[2]);
  const { rows } = await answer(page);
  const boxes = await Promise.all(
    (await page.getByRole("button").all()).map((button) => button.boundingBox()),
  );
  seen.phone = { label: rows[0].label, heights: boxes.map((box) => box.height) };
  await picture(page, "light.png");
  await page.locator("#list button").first().tap();
  await page.emulateMedia({ colorScheme: "dark" });
  await picture(page, "dark.png");
}

async function findOverflow(page) {
  const overflow = [];
  for (const width of [320, 390, 1100]) {
    await page.setViewportSize({ width, height: 760 });
    const inner = await page.evaluate(() => document.documentElement.scrollWidth);
    if (inner > width) overflow.push([width, inner]);
  }
  return overflow;
}

async function choose(page, photo) {
  await clear(page);
  await page.setInputFiles("#file", photo);
  return answer(page);
}

async function clear(page) {
  await page.evaluate(() => document.getElementById("list").replaceChildren());
}

async function answer(page) {
  await page.locator("#list li").first().waitFor();
  const rows = await page.locator("#list li").evaluateAll((items) =>
    items.map((item) => ({
      label: item.querySelector(".label").textContent,
      shown: item.querySelector(".share").textContent,
      probability: Number(item.dataset.probability),
      width: parseFloat(item.querySelector(".bar").style.width),
    })),
  );
  return { rows, spoken: await page.getByRole("status").textContent() };
}

async function byKeyboard(page) {
  await clear(page);
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press("Tab");
  const focused = await page.evaluate(() => document.activeElement.id);
  const outline = await page.evaluate(
    () => getComputedStyle(document.activeElement).outlineWidth,
  );
  const chooser = page.waitForEvent("filechooser");
  await page.keyboard.press("Enter");
  await (await chooser).setFiles(task.photos[1]);
  const { rows } = await answer(page);
  await page.keyboard.press("Tab");
  const next = await page.evaluate(() => document.activeElement.id);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  const pressed = await page.getByRole("button", { pressed: true }).textContent();
  const map = await readMap(page);
  await page.keyboard.press("Space"); // takes the map away
  const isGone = await page.locator("#map").isHidden();
  return { focused, outline, next, label: rows[0].label, pressed, map, isGone };
}

// Opacity of the map's places, row by row.
async function readMap(page) {
  return page.locator("#map:visible").evaluate((canvas) => {
    const { width, height } = canvas;
    const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    return Array.from({ length: width * height }, (_, i) => pixels[4 * i + 3]);
  });
}

async function drop(page, photo) {
  await clear(page);
  const data = readFileSync(photo).toString("base64");
  await page.evaluate(async (encoded) => {
    const bytes = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "dropped.jpg", { type: "image/jpeg" }));
    const options = { bubbles: true, cancelable: true, dataTransfer: transfer };
    document.getElementById("photo").dispatchEvent(new DragEvent("drop", options));
  }, data);
  return (await answer(page)).rows[0].label;
}

async function byCamera(page) {
  await clear(page);
  await page.getByRole("button", { name: "Take photo" }).click();
  await page.getByRole("dialog", { name: "Take a photo" }).waitFor();
  await page.locator("#shoot:enabled").waitFor();
  await picture(page, "camera.png");
  await page.keyboard.press("Enter"); // the button to take has the focus
  const { rows } = await answer(page);
  const isOpen = await page.locator("#camera").evaluate((dialog) => dialog.open);
  return { classes: rows.length, isOpen };
}

async function alertText(page) {
  const alert = page.getByRole("alert").filter({ visible: true });
  await alert.waitFor();
  return alert.textContent();
}

async function picture(page, name) {
  if (task.pictures) await page.screenshot({ path: path.join(task.pictures, name) });
}
