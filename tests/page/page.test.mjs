// The page of `edgeqa serve` as a stranger uses it: the real program, the demo model, Chromium.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Browser, Kiosk, TOWER, ask, focused, nextReply, shot, shown, state } from "./kiosk.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const EXAMPLES = ["How long is the whale?", "What does a ticket cost for children?", "Who was Maud Ekstrom?", "When was the museum opened?", "How do I get here by ferry?"];
const SETTINGS = { title: "Harbour Museum", subtitle: "Ask about your visit, the boats and the town.", language: "en", examples: EXAMPLES, idle_seconds: 60 };
const UNKNOWN = "What is the capital of Mongolia?";
const SIZES = [[360, 740], [1080, 1920], [1920, 1080], [3840, 2160]];

let kiosk, browser;
before(async () => {
  kiosk = await Kiosk.make();
  await kiosk.start(SETTINGS);
  browser = await Browser.launch();
});
after(async () => {
  await browser?.close();
  await kiosk?.remove();
});

/** A test with a page of its own. */
function on(name, options, body) {
  test(name, async () => {
    const page = await browser.open(`${kiosk.address}/${options.hash || ""}`, options);
    try {
      await body(page);
    } finally {
      await page.context().close();
    }
  });
}

/** What the page shows of the server's answer must be the answer, where it stands in the file. */
async function check(page, reply) {
  const [mark] = await page.locator("#passage mark").allTextContents();
  const file = kiosk.document(reply.source.file);
  assert.equal(file.subarray(reply.bytes.start, reply.bytes.end).toString(), reply.answer, "bytes of the file");
  assert.equal(flat(mark), flat(reply.answer), "the mark");
  assert.equal(await page.locator("#passage mark").count(), 1);
  assert.equal(flat(await shown(page, "verdict")), flat(mark), "the heading");
  assert.ok((await shown(page, "file")).includes(`passage ${reply.source.passage}`));
  assert.ok(`${await shown(page, "heading")} ${await shown(page, "file")}`.includes(reply.source.file));
  // Before the mark stands what stands before it in the file.
  const before = await page.locator("#passage mark").evaluate((mark) => mark.previousSibling?.textContent ?? "");
  assert.ok(flat(file.subarray(0, reply.bytes.start).toString() + "|").endsWith(flat(before + "|")), `before: ${before}`);
}
const flat = (text) => text.replace(/\s+/g, " ").trim();

/** Answers requests for answers in the server's place. */
const pretend = (page, ...replies) =>
  page.route("**/v1/ask", (route) => {
    const reply = replies.length > 1 ? replies.shift() : replies[0];
    return reply === "real" ? route.continue() : reply === "broken" ? route.abort("connectionreset") : route.fulfill({ contentType: "application/json", ...reply });
  });
const refusal = (status, code, headers = {}) => ({ status, headers, body: JSON.stringify({ error: { code, message: `the message of ${code}` } }) });

on("the start shows the owner's settings and nothing else", {}, async (page) => {
  assert.equal(await page.title(), SETTINGS.title);
  assert.equal(await shown(page, "title"), SETTINGS.title);
  assert.equal(await shown(page, "subtitle"), SETTINGS.subtitle);
  assert.deepEqual(await page.locator("#list button").allTextContents(), EXAMPLES);
  assert.equal(await shown(page, "result"), null);
  assert.equal(await page.evaluate(() => document.documentElement.lang), "en");
});

on("a touched example is answered, marked in its passage, with its source", { hasTouch: true }, async (page) => {
  const coming = nextReply(page);
  await page.tap(`#list button:has-text("${EXAMPLES[0]}")`);
  const reply = await coming;
  await state(page, "answer");
  assert.equal(reply.question, EXAMPLES[0]);
  assert.match(reply.answer, /14\.5 metres/);
  await check(page, reply);
  assert.equal(await focused(page), "verdict");
  assert.equal(await page.textContent("#status"), "Answer found.");
  assert.equal(await page.getAttribute("#result", "aria-busy"), "false");
  assert.ok(!(await page.locator("#list li:visible").allTextContents()).includes(EXAMPLES[0]), "not offered again");
  await page.tap("#again");
  await state(page, "start");
  assert.equal(await page.inputValue("#question"), "");
  assert.ok(!(await page.textContent("main")).includes("14.5"), "nothing stays");
});

on("all of Unicode and markup are text", {}, async (page) => {
  const coming = nextReply(page);
  await ask(page, "Who cast the bell 🔔 of the tower of Tindra?");
  const reply = await coming;
  await state(page, "answer");
  assert.equal(reply.source.file, "tindra.txt");
  assert.match(reply.answer, /Olof Berg/);
  await check(page, reply);
  assert.match(await page.textContent("#passage"), /^🗼🗼 The bell 🔔/, "the title is not shown twice");
  assert.equal(await page.locator("#passage :not(mark)").count(), 0, "no element but the mark");
  assert.match(await page.textContent("#passage"), /<img src=x onerror=alert\(1\)> but the mayor &amp; the oldest/);
  assert.match(await page.textContent("#passage"), /Bell: 900 kilograms\nHeight: 31 metres/);
});

on("highlights count Unicode scalar values, and impossible ones are left out", {}, async (page) => {
  // The first half of the first character is where the page marks edges.
  const text = "𐌲🗼é x";
  const source = (highlight) => ({ file: "a/b.txt", passage: 3, title: null, text, highlight });
  const reply = (highlight, answer) => ({ body: JSON.stringify({ question: "?", answer, answered: true, source: source(highlight), nearest: null }) });
  const spans = [[0, 1, "𐌲"], [1, 2, "🗼"], [1, 3, "🗼é"], [4, 5, "x"], [0, 5, text]];
  await pretend(page, ...spans.map(([start, end, answer]) => reply({ start, end }, answer)), reply({ start: 4, end: 6 }, "x"), reply(null, "x"));
  for (const [n, [, , answer]] of spans.entries()) {
    const coming = nextReply(page);
    await ask(page, `question ${n}`);
    await coming;
    await page.waitForFunction((answer) => document.getElementById("verdict").textContent === answer, answer);
    assert.deepEqual(await page.locator("#passage mark").allTextContents(), [answer]);
  }
  for (let n = 0; n < 2; n++) {
    const coming = nextReply(page);
    await ask(page, "one more");
    await coming;
    await page.waitForSelector("#passage mark", { state: "detached" });
    assert.equal(await page.textContent("#passage"), text);
  }
  assert.equal(await shown(page, "heading"), "a/b.txt");
});

on("Markdown is shown without its signs, wrapped lines are joined, short ones kept", {}, async (page) => {
  const wrapped = "A ticket for grown-ups, which is everybody from the age of 17,\ncosts **60 crowns**; see [the shop](shop.md).\n\n- Dogs: 5 crowns\n- Cats: 2*2 crowns";
  const text = `# Tickets\n\n## Prices\n\n${wrapped}\n`;
  const at = text.indexOf("60 crowns");
  const source = { file: "tickets.md", passage: 1, title: "Prices", text, highlight: { start: at, end: at + 9 } };
  const body = (file) => ({ body: JSON.stringify({ question: "?", answer: "60 crowns", answered: true, source: { ...source, file }, nearest: null }) });
  await pretend(page, body("tickets.md"), body("tickets.txt"));
  await ask(page, "one");
  await state(page, "answer");
  assert.equal(await page.textContent("#passage"), "A ticket for grown-ups, which is everybody from the age of 17, costs 60 crowns; see the shop.\n\n• Dogs: 5 crowns\n• Cats: 2*2 crowns\n");
  assert.equal(await page.textContent("#passage mark"), "60 crowns");
  await ask(page, "two");
  await page.waitForFunction(() => document.getElementById("file").textContent === "tickets.txt, passage 1");
  assert.equal(await page.textContent("#passage"), text.replace("17,\n", "17, "), "plain text as it is");
});

on("titles of Markdown are shown without signs, and first lines of other texts stay", {}, async (page) => {
  const body = (file, title, text) => ({ body: JSON.stringify({ question: "?", answer: "1871", answered: true, source: { file, passage: 1, title, text, highlight: { start: text.indexOf("1871"), end: text.indexOf("1871") + 4 } }, nearest: null }) });
  await pretend(page, body("a.md", "**The `old` [tower](t.md)**", "# **The `old` [tower](t.md)**\n\nBuilt in 1871.\n"), body("b_c_.md", null, "Built in 1871."), body("b.txt", null, "# 1 rule: nobody may whistle\nBuilt in 1871."));
  for (const [heading, passage] of [["The old tower", "Built in 1871.\n"], ["b_c_.md", "Built in 1871."], ["b.txt", "# 1 rule: nobody may whistle\nBuilt in 1871."]]) {
    await ask(page, "when");
    await page.waitForFunction((heading) => document.getElementById("heading").textContent === heading, heading);
    assert.equal(await page.textContent("#passage"), passage);
  }
});

on("images, emphasis and code are shown without their signs, names with underscores as they are", {}, async (page) => {
  // Markdown, with the answer between « and »; what is shown, likewise.
  const cases = [
    ["![img](y.png) _so_ `x_y_z` «words_with_underscores» _a_b_ 2*3*4", "img so x_y_z «words_with_underscores» a_b 2*3*4"],
    ["snake_«case»_name and __bold__", "snake_«case»_name and bold"],
    ["Take **the «red** boat» or `x`", "Take the «red boat» or x"],
    ["`«cargo run»` *then* ***wait***, 5* and 4*", "«cargo run» then wait, 5* and 4*"],
    ["[![logo](a_b_c.png)](https://h/_x_/y) [_«docs»_](z) [a](b)", "logo «docs» a"],
    ["The fee is «**20 crowns»** _now_", "The fee is «20 crowns» now"],
    ["![a](b«c»d) [e](f)", "![a](b«c»d) e"],
    ["🗼 _𝟛 «🔔»_ `__init__` größe_ä_ü ![](q.png)!", "🗼 𝟛 «🔔» __init__ größe_ä_ü !"],
    ["![A (old)](a_(1).png)[Paris](https://h/P_(T)) or [«Ann Lee»](https://x/a_(b)_c)", "A (old)Paris or «Ann Lee»"],
    ["1\\.5 \\*«stars»\\* and C:\\new", "1.5 *«stars»* and C:\\new"],
    ["`C:\\_tmp` «C:\\\\\\_a» `\\d+\\.\\d` \\\\\\\\x", "C:\\_tmp «C:\\_a» \\d+\\.\\d \\\\x"],
    ["- *one*\n* **two** «_three_»\nsrc/**/*.rs _a\nb_", "• one\n• two «three»\nsrc/**/*.rs _a\nb_"],
  ];
  const bodies = cases.map(([markdown]) => {
    const [before, answer] = markdown.split(/[«»]/), start = Array.from(before).length;
    const source = { file: "a.md", passage: 1, title: null, text: markdown.replace(/[«»]/g, ""), highlight: { start, end: start + Array.from(answer).length } };
    return { body: JSON.stringify({ question: "?", answer, answered: true, source, nearest: null }) };
  });
  await pretend(page, ...bodies);
  for (const [, want] of cases) {
    const coming = nextReply(page);
    await ask(page, "one");
    await coming;
    // The heading is what is marked: an answer may take a sign of two along.
    const heading = want.split(/[«»]/)[1];
    await page.waitForFunction((heading) => document.getElementById("verdict").textContent === heading && !document.getElementById("source").hidden, heading);
    const got = await page.evaluate(() => Array.from(document.getElementById("passage").childNodes, (node) => (node.nodeName === "MARK" ? `«${node.textContent}»` : node.textContent)).join(""));
    assert.equal(got, want);
  }
});

on("what is not in the documents is said to be not there", {}, async (page) => {
  const coming = nextReply(page);
  await ask(page, UNKNOWN);
  const reply = await coming;
  await state(page, "none");
  assert.equal(reply.answered, false);
  assert.equal(await shown(page, "verdict"), "This is not in the documents.");
  assert.equal(await page.locator("mark").count(), 0);
  if (reply.nearest) {
    const [words] = flat(await page.textContent("#passage")).match(/^.{30}/);
    assert.ok(flat(reply.nearest.text).includes(words));
    assert.equal(await shown(page, "from"), "The closest passage is from");
  } else {
    assert.equal(await shown(page, "source"), null);
  }
});

on("the keyboard is enough", {}, async (page) => {
  const order = [];
  for (let n = 0; n < 2 + EXAMPLES.length; n++) {
    if (n) await page.keyboard.press("Tab");
    order.push(await focused(page));
    const seen = await page.evaluate(() => [document.activeElement, document.activeElement.parentElement].some((element) => getComputedStyle(element).outlineStyle !== "none"));
    assert.ok(seen, `the focus on ${order.at(-1)} is visible`);
  }
  assert.deepEqual(order, ["question", "ask", ...EXAMPLES]);
  await page.keyboard.press("Escape");
  assert.equal(await focused(page), "question");
  await page.keyboard.type("How long is the whale?");
  await page.keyboard.press("Enter");
  await state(page, "answer");
  assert.equal(await focused(page), "verdict");
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "again", "after the answer comes the next question");
  await page.keyboard.press("Escape");
  await state(page, "start");
  assert.equal(await page.inputValue("#question"), "");
  await page.keyboard.press("Enter");
  await sleep(50);
  await state(page, "start");
  // Escape does not erase what is being written, in front of an answer neither.
  await page.keyboard.type("How long is");
  await page.keyboard.press("Escape");
  assert.equal(await page.inputValue("#question"), "How long is");
  await page.keyboard.type(" the whale?");
  await page.keyboard.press("Enter");
  await state(page, "answer");
  await page.fill("#question", "Who cast");
  await page.keyboard.press("Escape");
  await state(page, "start");
  assert.equal(await page.inputValue("#question"), "Who cast");
  await page.fill("#question", "");
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.type("Who?");
  assert.equal(await page.inputValue("#question"), "Who?", "typing needs no aim");
});

on("waiting is shown after a moment and can be cancelled", {}, async (page) => {
  const begun = [];
  await page.route("**/v1/ask", async (route) => { begun.push(Date.now()); await sleep(1200); await route.continue().catch(() => {}); });
  await ask(page, "How long is the whale?");
  await sleep(100);
  assert.equal(await page.evaluate(() => document.documentElement.dataset.state), "start", "no flicker");
  assert.equal(await page.getAttribute("#result", "aria-busy"), "true");
  await state(page, "busy");
  assert.match(await page.textContent("#status"), /Looking in the documents/);
  await shot(page, "busy-1280-light");
  for (const cancel of [() => page.click("#cancel"), () => page.keyboard.press("Escape")]) {
    await cancel();
    await state(page, "start");
    assert.equal(await page.inputValue("#question"), "How long is the whale?", "to be corrected");
    assert.equal(await page.getAttribute("#result", "aria-busy"), "false");
    assert.equal(await focused(page), "question");
    if (begun.length === 1) {
      await page.keyboard.press("Enter");
      await state(page, "busy");
    }
  }
  await sleep(Math.max(0, begun[1] + 1700 - Date.now()));
  await state(page, "start");
  // An empty question ends the waiting, too.
  await page.keyboard.press("Enter");
  await state(page, "busy");
  await page.fill("#question", "");
  await page.press("#question", "Enter");
  await state(page, "start");
});

on("a late answer to an earlier question is never shown", {}, async (page) => {
  await page.route("**/v1/ask", async (route) => {
    if (route.request().postDataJSON().question.includes("whale")) await sleep(700);
    await route.continue().catch(() => {});
  });
  await ask(page, "How long is the whale?");
  await sleep(50);
  await ask(page, "Who cast the bell of the tower of Tindra?");
  await state(page, "answer");
  assert.match(await shown(page, "verdict"), /Olof Berg/);
  await sleep(1000);
  assert.match(await shown(page, "verdict"), /Olof Berg/);
  assert.equal(await page.inputValue("#question"), "Who cast the bell of the tower of Tindra?");
});

on("who asks the same again while it is answered waits for that answer", {}, async (page) => {
  let begun = 0;
  await page.route("**/v1/ask", async (route) => { begun += 1; await sleep(900); await route.continue().catch(() => {}); });
  await ask(page, "How long is the whale?");
  await state(page, "busy");
  await page.click("#ask");
  await page.press("#question", "Enter");
  await state(page, "answer");
  assert.equal(begun, 1);
});

on("each text has the direction of its own letters", {}, async (page) => {
  const text = "המגדל נבנה בשנת 1871.\nIt is called Migdal.";
  const source = { file: "a.txt", passage: 1, title: null, text, highlight: { start: 16, end: 20 } };
  await pretend(page, { body: JSON.stringify({ question: "?", answer: "1871", answered: true, source, nearest: null }) });
  await ask(page, "מתי?");
  await state(page, "answer");
  // Where a character of an element's first text is, from the left.
  const left = (id, at) => page.evaluate(([id, at]) => {
    const node = document.getElementById(id).firstChild, range = document.createRange();
    range.setStart(node, at);
    range.setEnd(node, at + 1);
    return range.getBoundingClientRect().left;
  }, [id, at]);
  assert.ok((await left("passage", 0)) > (await left("passage", 14)), "Hebrew begins at the right");
  const box = await page.locator("#passage").boundingBox();
  assert.ok((await left("passage", 0)) > box.x + box.width - 60, "and at the right edge");
  for (const which of ["#question", "#list span", "#heading"]) {
    assert.equal(await page.locator(which).first().evaluate((element) => getComputedStyle(element).unicodeBidi), "plaintext", which);
  }
  await shot(page, "hebrew-1280-light");
});

on("a busy server is asked again when it says so", {}, async (page) => {
  const times = [];
  page.on("request", (request) => request.url().endsWith("/v1/ask") && times.push(Date.now()));
  await pretend(page, refusal(503, "queue_full", { "Retry-After": "1" }), "broken", "real");
  await ask(page, "How long is the whale?");
  await state(page, "moment");
  assert.equal(await shown(page, "kind"), "One moment");
  await shot(page, "moment-1280-light");
  await state(page, "answer");
  assert.equal(times.length, 3);
  assert.ok(times[1] - times[0] >= 950, `Retry-After is kept: ${times[1] - times[0]} ms`);
  assert.match(await shown(page, "verdict"), /14\.5/);
});

on("an error is told, and trying again helps", {}, async (page) => {
  const cases = [
    [refusal(504, "time_limit"), "That took too long.", null],
    [refusal(500, "internal_error"), "That did not work.", "the message of internal_error"],
    [{ status: 200, body: "{" }, "That did not work.", null],
    [{ status: 200, body: "[1]" }, "That did not work.", null],
  ];
  await pretend(page, ...cases.map(([reply]) => reply), "real");
  for (const [n, [, verdict, detail]] of cases.entries()) {
    if (n) await page.click("#retry");
    else await ask(page, "How long is the whale?");
    await page.waitForFunction((words) => document.getElementById("verdict").textContent === words, verdict);
    await state(page, "failed");
    assert.equal(await shown(page, "detail"), detail);
    assert.equal(await focused(page), "verdict");
    if (n < cases.length - 1) await page.evaluate(() => (document.getElementById("verdict").textContent = ""));
  }
  await page.click("#retry");
  await state(page, "answer");
});

on("a question that is too long is neither cut nor lost", {}, async (page) => {
  for (const length of [1_200, 300_000]) {
    const long = "How long is the whale? ".repeat(length / 23 + 1);
    await page.locator("#question").focus();
    await page.keyboard.insertText(long);
    await page.keyboard.press("Enter");
    await state(page, "failed");
    assert.equal(await shown(page, "verdict"), "This question is too long.");
    assert.equal(await shown(page, "hint"), "Please ask in fewer words.");
    assert.deepEqual([await shown(page, "detail"), await shown(page, "retry")], [null, null], "the same again does not help");
    assert.equal(await page.inputValue("#question"), long.trim(), "to be shortened");
    await page.click("#again");
    await state(page, "start");
  }
  const question = "How long is the whale? ".repeat(20).trim();
  const coming = nextReply(page);
  await page.locator("#question").focus();
  await page.keyboard.insertText(question);
  await page.keyboard.press("Enter");
  assert.equal((await coming).question, question);
});

on("browsers without the newest functions answer, wait and can be stopped", { old: true }, async (page) => {
  await ask(page, "How long is the whale?");
  await state(page, "answer");
  assert.match(await page.textContent("#verdict"), /14\.5/);
  await page.click("#again");
  await state(page, "start");
  await pretend(page, "broken", "real", refusal(503, "not_ready", { "Retry-After": "1" }));
  await ask(page, "How long is the whale?");
  await state(page, "moment");
  await state(page, "answer");
  await ask(page, "How long is the whale?");
  await state(page, "moment");
  await page.click("#cancel");
  await state(page, "start");
  await sleep(1200);
  await state(page, "start");
  assert.equal(await page.inputValue("#question"), "How long is the whale?");
  assert.equal(await focused(page), "question");
});

on("a killed server is waited for, and the question is answered when it is back", {}, async (page) => {
  await kiosk.kill();
  await ask(page, "How long is the whale?");
  await state(page, "moment");
  assert.equal(await page.getAttribute("#result", "aria-busy"), "true");
  await sleep(700);
  await state(page, "moment");
  await kiosk.start(SETTINGS);
  await state(page, "answer");
  assert.match(await shown(page, "verdict"), /14\.5/);
});

on("after the idle time nothing of the visitor is left", { clock: true }, async (page) => {
  await ask(page, "How long is the whale?");
  await state(page, "answer");
  await page.clock.fastForward(39_000);
  assert.equal(await shown(page, "countdown"), null);
  await page.clock.fastForward(2_000);
  assert.match(await shown(page, "countdown"), /Back to the start in (19|20) s/);
  assert.match(await page.textContent("#status"), /Press any key/);
  await shot(page, "idle-1280-light");
  await page.keyboard.press("Shift");
  assert.equal(await shown(page, "countdown"), null, "a key keeps the page");
  assert.equal(await page.textContent("#status"), "", "and nothing goes on telling that it will go");
  await state(page, "answer");
  await page.clock.fastForward(41_000);
  await page.click("#stay");
  assert.equal(await shown(page, "countdown"), null);
  await page.clock.fastForward(41_000);
  await page.clock.fastForward(20_000);
  await state(page, "start");
  const left = await page.evaluate(() => document.body.innerText + document.getElementById("question").value + document.getElementById("result").textContent);
  assert.ok(!/14\.5|skeleton/.test(left) && left.split("whale").length === 2, "only the example speaks of whales");
  assert.equal(await page.inputValue("#question"), "");
  assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length + document.cookie.length), 0);
  // An unfinished question is private too.
  await page.fill("#question", "half a quest");
  await page.clock.fastForward(41_000);
  await page.clock.fastForward(20_000);
  assert.equal(await page.inputValue("#question"), "");
});

on("a single letter of the page's keyboard is erased, too", { hash: "#keyboard", hasTouch: true, clock: true }, async (page) => {
  await page.tap("#question");
  await page.tap('#keyboard button:text-is("Q")');
  assert.equal(await page.inputValue("#question"), "Q");
  await page.clock.fastForward(41_000);
  await page.clock.fastForward(20_000);
  assert.equal(await page.inputValue("#question"), "");
});

on("the page has a keyboard of its own for a bare touch screen", { hash: "#keyboard", hasTouch: true }, async (page) => {
  assert.equal(await shown(page, "keyboard"), null);
  await page.tap("#question");
  for (const letter of "Who cast thee") {
    const shift = await page.locator("#keyboard [aria-pressed]").getAttribute("aria-pressed");
    assert.equal(shift, String(letter === "W"), "a sentence begins with a capital");
    await page.tap(letter === " " ? "#keyboard .space" : `#keyboard button:text-is("${letter}")`);
  }
  await page.tap('#keyboard [aria-label="Delete a letter"]');
  assert.equal(await page.inputValue("#question"), "Who cast the");
  await page.fill("#question", "Who cast the 🔔");
  for (const left of ["Who cast the ", "Who cast the"]) {
    await page.tap('#keyboard [aria-label="Delete a letter"]');
    assert.equal(await page.inputValue("#question"), left, "a character of two units goes at once");
  }
  for (const letter of " bell?") await page.tap(letter === " " ? "#keyboard .space" : `#keyboard button:text-is("${letter}")`);
  assert.equal(await focused(page), "question", "keys leave the focus where it is");
  await shot(page, "keyboard-1280-light");
  const coming = nextReply(page);
  await page.tap("#keyboard .primary");
  assert.equal((await coming).question, "Who cast the bell?");
  await page.waitForSelector("#keyboard", { state: "hidden" });
});

/** Where the box and the keyboard are. */
const places = (page) =>
  page.evaluate(() => {
    const box = document.querySelector(".box").getBoundingClientRect(), keyboard = document.getElementById("keyboard").getBoundingClientRect();
    return { top: box.top, bottom: box.bottom, keys: keyboard.top, height: keyboard.height, page: document.documentElement.scrollWidth - innerWidth };
  });

/** Types with the page's keyboard, and looks that the box stays in sight above it, and that the page does not hide what comes. */
async function typeOnGlass(page, name) {
  const visible = async (when) => {
    const at = await places(page);
    assert.ok(at.height > 0 && at.top >= 0 && at.bottom <= at.keys && at.page <= 0, `${when}: ${JSON.stringify(at)}`);
  };
  await page.tap("#question");
  await visible("touched");
  await shot(page, `keyboard-${name}`);
  for (const letter of "WHO") await page.locator("#keyboard button", { hasText: new RegExp(`^${letter}$`, "i") }).tap();
  await visible("three letters");
  await page.fill("#question", "Who was it that ".repeat(12));
  await page.tap("#keyboard .space");
  await visible("a question of many lines");
  await shot(page, `keyboard-${name}-long`);
  await page.tap("#clear");
  await visible("cleared");
  await page.fill("#question", "How long is the whale?");
  await pretend(page, refusal(503, "not_ready", { "Retry-After": "30" }), "real");
  await page.tap("#keyboard .primary");
  await state(page, "moment");
  await page.waitForSelector("#keyboard", { state: "hidden" });
  assert.equal(await focused(page), "cancel");
  await page.tap("#cancel");
  await visible("cancelled");
  await page.tap("#keyboard .primary");
  await state(page, "answer");
  await page.waitForSelector("#keyboard", { state: "hidden" });
  await page.tap("#again");
  await visible("asked for another question");
}

on("800 x 480, the keyboard of the page does not cover the box", { hash: "#keyboard", hasTouch: true, viewport: { width: 800, height: 480 } }, (page) => typeOnGlass(page, "800x480"));

for (const colorScheme of ["light", "dark"]) {
  for (const [width, height] of SIZES) {
    on(`${width} x ${height}, ${colorScheme}: it fits, can be touched, and axe finds nothing`, { viewport: { width, height }, colorScheme, reducedMotion: "reduce" }, async (page) => {
      const look = async (name) => {
        await shot(page, `${name}-${width}-${colorScheme}`);
        assert.deepEqual(await page.evaluate(faults), [], `${name}: sizes`);
        if (width === 360 || width === 1920) assert.deepEqual(await axe(page), [], `${name}: axe`);
      };
      await look("start");
      await ask(page, "How long is the whale?");
      await state(page, "answer");
      await look("answer");
      await ask(page, UNKNOWN);
      await state(page, "none");
      await look("none");
      await pretend(page, refusal(503, "not_ready", { "Retry-After": "30" }), refusal(500, "internal_error"));
      await ask(page, "How long is the whale?");
      await state(page, "moment");
      await look("moment");
      assert.equal(await page.evaluate(() => document.getAnimations().length), 0, "motion is reduced");
      await ask(page, "How long is the whale?");
      await state(page, "failed");
      await look("failed");
    });
  }
}

/** What is wider than the screen, or too small for a finger. Runs in the page. */
function faults() {
  const found = [];
  if (document.documentElement.scrollWidth > innerWidth) found.push(`the page is ${document.documentElement.scrollWidth} wide`);
  for (const element of document.querySelectorAll("button, textarea")) {
    const { width, height, left, right } = element.getBoundingClientRect();
    if (element.checkVisibility() && (width < 55.5 || height < 55.5 || left < 0 || right > innerWidth)) found.push(`${element.id || element.textContent}: ${width} x ${height}`);
  }
  const size = parseFloat(getComputedStyle(document.getElementById("verdict")).fontSize);
  if (document.documentElement.dataset.state === "answer" && size < 34) found.push(`the answer has ${size} px`);
  return found;
}

async function axe(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html}: ${node.failureSummary}`));
}

test("another language, and colours that could not be read, after the owner has changed the settings", async () => {
  const page = await browser.open(kiosk.address, { clock: true });
  await page.waitForLoadState("networkidle");
  await kiosk.kill();
  await kiosk.start({ ...SETTINGS, title: "Hafenmuseum </script><b>", language: "de-CH", accent: "#ffe600", accent_dark: "#102", examples: [EXAMPLES[0]] });
  await page.clock.fastForward(600_000);
  await page.waitForFunction(() => document.documentElement.lang === "de");
  assert.equal(await shown(page, "title"), "Hafenmuseum </script><b>");
  assert.equal(await shown(page, "label"), "Ihre Frage");
  await page.click("#list button");
  await state(page, "answer");
  assert.equal(await shown(page, "again"), "Andere Frage stellen");
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    assert.deepEqual(await axe(page), [], colorScheme);
    await shot(page, `german-1280-${colorScheme}`);
  }
  await page.context().close();
});

test("new settings come later if a visitor types while the page looks for them", async () => {
  await kiosk.kill();
  await kiosk.start(SETTINGS);
  const page = await browser.open(kiosk.address, { clock: true });
  await page.waitForLoadState("networkidle");
  await kiosk.kill();
  await kiosk.start({ ...SETTINGS, title: "New", language: "constructor" });
  let typed = false;
  await page.route(`${kiosk.address}/`, async (route) => {
    const response = await route.fetch();
    if (!typed) await page.fill("#question", "Wh");
    typed = true;
    await route.fulfill({ response });
  });
  await page.clock.fastForward(600_000);
  await page.waitForFunction(() => document.getElementById("question").value === "Wh");
  await sleep(200);
  assert.equal(await shown(page, "title"), SETTINGS.title);
  await page.fill("#question", "");
  await page.clock.fastForward(600_000);
  await page.waitForFunction(() => document.getElementById("title").textContent === "New");
  assert.equal(await shown(page, "label"), "Your question", "a language that is none");
  await page.context().close();
});

test("long titles in other languages leave the box above the keyboard of the page", async () => {
  const title = "Seefahrtsmuseum Halvik – Fragen Sie uns alles", subtitle = "Ich antworte aus den Dokumenten dieses Hauses oder sage, dass nichts darin steht. ".repeat(2);
  // The French keyboard has a row more.
  for (const [language, sizes] of [["de", [[1024, 600], [1280, 720]]], ["fr", [[800, 480], [480, 800]]]]) {
    await kiosk.kill();
    await kiosk.start({ ...SETTINGS, title, subtitle, language });
    for (const [width, height] of sizes) {
      const page = await browser.open(`${kiosk.address}/#keyboard`, { hasTouch: true, viewport: { width, height }, colorScheme: language === "fr" ? "dark" : "light" });
      await typeOnGlass(page, `${width}x${height}-${language}`);
      await page.context().close();
    }
  }
});

test("long words in titles do not make the page wider than the screen", async () => {
  await kiosk.kill();
  await kiosk.start({ ...SETTINGS, title: "Schifffahrtsmuseum Rostock-Warnemünde", language: "de" });
  const page = await browser.open(kiosk.address, { viewport: { width: 320, height: 480 } });
  await shot(page, "long-word-320");
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
  await page.fill("#question", "Wann ist das Museum am Wochenende geöffnet?");
  assert.ok((await page.locator("#question").boundingBox()).width > 150, "a question can be read while it is typed");
  await shot(page, "typing-320");
  await page.context().close();
});

on("without JavaScript there is a line in each language, and nothing to type into", { javaScriptEnabled: false, viewport: { width: 480, height: 800 } }, async (page) => {
  assert.deepEqual(await page.locator("noscript p").evaluateAll((lines) => lines.map((line) => line.lang)).catch(() => null) ?? [], ["", "de", "fr", "es"]);
  assert.equal(await page.locator("main").isVisible(), false);
  await shot(page, "nojs-480");
});

test("a kiosk without documents says so in its language, and not to try again", async () => {
  const words = { en: "No texts have been given to this kiosk yet.", de: "Diesem Kiosk wurden noch keine Texte gegeben.", fr: "Aucun texte n’a encore été donné à cette borne.", es: "Este quiosco aún no tiene textos." };
  for (const [language, title] of Object.entries(words)) {
    await kiosk.kill();
    await kiosk.start({ ...SETTINGS, language }, false);
    assert.match(kiosk.log, /WARN.*--docs/);
    const page = await browser.open(kiosk.address, { viewport: { width: 480, height: 800 } });
    await ask(page, "Who?");
    await state(page, "empty");
    assert.equal(await shown(page, "verdict"), title);
    assert.match(await shown(page, "hint"), /--docs/);
    for (const id of ["detail", "source", "retry", "examples"]) assert.equal(await shown(page, id), null, id);
    assert.equal(await focused(page), "verdict");
    assert.deepEqual(await axe(page), []);
    await shot(page, `empty-480-${language}`);
    await page.click("#again");
    await state(page, "start");
    await page.context().close();
  }
});

test("no page has asked anybody but the server, nor broken the policy", async () => {
  assert.ok(browser.requests.length > 50);
  assert.deepEqual(browser.requests.filter((url) => !url.startsWith(`${kiosk.address}/`) && !url.startsWith("data:")), []);
  assert.deepEqual(browser.complaints, []);
  // The same eyes see it when something does.
  const page = await browser.open(kiosk.address);
  await page.evaluate(() => { document.body.setAttribute("style", "color: red"); document.body.append(Object.assign(new Image(), { src: "http://192.0.2.1/x.png" })); });
  await page.waitForTimeout(200);
  assert.equal(browser.complaints.filter((words) => words.includes("Content Security Policy")).length, 2, String(browser.complaints));
  await page.context().close();
});
