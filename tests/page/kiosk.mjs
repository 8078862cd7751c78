// The real program with a folder of documents, and a browser to look at it.

import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
export const SCREENSHOTS = join(ROOT, "target", "screenshots");
const PROGRAM = process.env.EDGEQA_BIN || join(ROOT, "target", "debug", "edgeqa");
const CHROMIUM = process.env.CHROMIUM || "/usr/bin/chromium";
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** A document with characters outside of the basic plane, with markup, with wrapped and with short lines. */
export const TOWER = `The tower of Tindra

🗼🗼 The bell 🔔 of the tower of Tindra was cast in 1902 by the smith Olof Berg, who was paid
with 𝟛 barrels of herring. <b>Nobody</b> may ring it <img src=x onerror=alert(1)> but the mayor &amp; the
oldest child of the town.

Bell: 900 kilograms
Height: 31 metres
`;

/** `edgeqa serve` on a free port of this machine. */
export class Kiosk {
  static async make() {
    const kiosk = new Kiosk();
    kiosk.folder = mkdtempSync(join(tmpdir(), "edgeqa-page-"));
    kiosk.documents = join(kiosk.folder, "documents");
    cpSync(join(ROOT, "models", "demo", "documents"), kiosk.documents, { recursive: true });
    writeFileSync(join(kiosk.documents, "tindra.txt"), TOWER);
    kiosk.port = await freePort();
    kiosk.address = `http://127.0.0.1:${kiosk.port}`;
    return kiosk;
  }

  /** Starts the program with these settings of the page, with or without documents, and returns when it is ready. */
  async start(settings, documents = true) {
    const config = join(this.folder, "kiosk.toml");
    const lines = Object.entries(settings).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
    writeFileSync(config, `[page]\n${lines.join("")}`);
    const flags = ["serve", "--listen", `127.0.0.1:${this.port}`, ...(documents ? ["--docs", this.documents] : []), "--config", config, "--model", join(ROOT, "models", "demo", "model.safetensors")];
    this.log = "";
    const child = (this.child = spawn(PROGRAM, flags, { stdio: ["ignore", "pipe", "pipe"] }));
    for (const pipe of [child.stdout, child.stderr]) pipe.on("data", (bytes) => (this.log += bytes));
    child.on("error", (error) => (this.log += error));
    for (let tries = 0; ; tries++) {
      if (await fetch(`${this.address}/readyz`).then((response) => response.ok, () => false)) return;
      if (tries === 300 || child.exitCode !== null) throw new Error(`edgeqa serve does not start:\n${this.log}`);
      await sleep(50);
    }
  }

  /** Ends the program as a power cut does. */
  async kill() {
    const child = this.child;
    if (!child || child.exitCode !== null || child.signalCode) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  }

  /** Bytes of a document. */
  document(file) {
    return readFileSync(join(this.documents, file));
  }

  async remove() {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Chromium, and everything that its pages asked for or complained about. */
export class Browser {
  static async launch() {
    if (!existsSync(CHROMIUM)) throw new Error(`${CHROMIUM} is missing`);
    mkdirSync(SCREENSHOTS, { recursive: true });
    const browser = new Browser();
    browser.chromium = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
    browser.requests = [];
    browser.complaints = [];
    return browser;
  }

  /** A page of its own, without the memory of any other. */
  async open(address, options = {}) {
    const context = await this.chromium.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("console", (message) => {
      // What Chromium says of each refused or failed request is no complaint about the page.
      if (!/^Failed to load resource/.test(message.text())) this.complaints.push(message.text());
    });
    if (options.clock) await page.clock.install();
    // What Firefox 115 or Safari 17.3 lack.
    if (options.old) {
      await page.addInitScript(() => {
        delete AbortSignal.any;
        delete AbortSignal.timeout;
        delete Element.prototype.checkVisibility;
      });
    }
    await page.goto(address);
    return page;
  }

  async close() {
    await this.chromium.close();
  }
}

/** Types a question and sends it with Enter. */
export async function ask(page, question) {
  await page.fill("#question", question);
  await page.press("#question", "Enter");
}

/** Waits for a state of the page. */
export async function state(page, name) {
  await page.waitForSelector(`html[data-state="${name}"]`);
}

/** The server's answer to the next question, as it was sent. */
export function nextReply(page) {
  return page.waitForResponse((response) => response.url().endsWith("/v1/ask") && response.status() === 200).then((response) => response.json());
}

export const shown = (page, id) => page.locator(`#${id}`).evaluate((element) => (element.checkVisibility() ? element.textContent : null));
export const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
export const shot = (page, name) => page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
