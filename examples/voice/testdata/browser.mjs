// Drives the page of the chain talk in Chromium, for TestBrowser. The argument is JSON: the folder of the npm packages,
// the page's URL, the server's, and the files of a microphone without a sound and of two questions. It says the first
// question, speaks the second one over the answer, and waits until the answer to that has been heard. It prints JSON: what
// the page told, and what came out of its speaker from the second question on.
import { createRequire } from 'node:module';

const { packages, page: url, server, silence, first, second } = JSON.parse(process.argv[2]);
const { chromium } = createRequire(packages + '/')('playwright-core');

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: [
    '--no-sandbox', // as root there is none
    '--autoplay-policy=no-user-gesture-required',
    '--use-fake-ui-for-media-stream', // the microphone may be used
    '--use-fake-device-for-media-stream', `--use-file-for-fake-audio-capture=${silence}`,
  ],
});
const faults = [];
const told = { faults };
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000); // no claim on speed: so that a page that hangs does not hang the test
  page.on('pageerror', (err) => faults.push(String(err)));
  page.on('console', (message) => { if (message.type() === 'error') faults.push(message.text()); });
  await page.goto(`${url}?server=${encodeURIComponent(server)}`);
  await page.click('#start');
  await page.locator('#file:enabled, #fault:not(:empty)').first().waitFor();
  told.fault = await page.textContent('#fault');
  if (!told.fault) await converse(page);
} finally {
  await browser.close();
}
console.log(JSON.stringify(told));

async function converse(page) {
  await page.evaluate(watch);
  await page.setInputFiles('#file', first);
  await page.waitForFunction(() => heard.turns.includes(0)); // its answer is in the room
  await page.setInputFiles('#file', second);
  await page.waitForFunction(() => heard.over);
  await page.waitForFunction(() => heard.turns.includes(1) && heard.quiet);
  Object.assign(told, await page.evaluate(() => ({
    events: heard.events, sampleHz: heard.sampleHz, samples: heard.record(),
    log: [...document.querySelectorAll('#log li')].map((li) => ({ side: li.classList[0], turn: Number(li.dataset.turn), text: li.textContent, over: li.classList.contains('over') })),
  })));
  await page.click('#stop');
  await page.locator('#start:enabled').waitFor();
  told.fault = await page.textContent('#fault');
}

// watch notes in the page what is said to it, and what its speaker plays.
async function watch() {
  const { now } = await import('./page.js');
  const { Voice } = await import('./voice.js');
  const { context, speaker, talk } = now;
  let frames = [];
  const heard = globalThis.heard = {
    events: [], // of the connection, in order
    turns: [], // whose sound was heard
    over: false, // the first answer was, and is not heard any more
    quiet: true, // just now
    sampleHz: context.sampleRate,
    // record returns the samples from the interruption on, as base64.
    record() {
      const bytes = new Uint8Array(frames.reduce((n, f) => n + f.byteLength, 0));
      let at = 0;
      for (const f of frames) {
        bytes.set(new Uint8Array(f.buffer), at);
        at += f.byteLength;
      }
      let text = '';
      for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
      return btoa(text);
    },
  };
  talk.addEventListener('audio', (e) => heard.events.push({ type: 'audio', turn: e.detail.turn }));
  talk.addEventListener('turnover', (e) => {
    heard.events.push({ type: 'over', turn: e.detail.turn });
    frames = [];
    heard.over = true;
  });
  const recorder = new Voice(context, (frame) => {
    frames.push(frame);
    heard.quiet = speaker.turns.size === 0;
    if (frame.every((v) => Math.abs(v) < 300)) return;
    for (const turn of speaker.turns) if (!heard.turns.includes(turn)) heard.turns.push(turn);
  });
  speaker.output.connect(recorder.input);
}
