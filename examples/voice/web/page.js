import { Speaker } from './speaker.js';
import { Talk } from './talk.js';
import { Voice } from './voice.js';

const $ = (id) => document.getElementById(id);

// The conversation that goes on, if one does.
export let now = null;

$('server').value = new URLSearchParams(location.search).get('server') ?? $('server').value;
$('start').onclick = () => start().catch((err) => { fault(err.message); stop(); });
$('stop').onclick = stop;
$('file').onchange = (e) => say(e.target.files[0]).catch((err) => fault(err.message));

async function start() {
  $('log').replaceChildren();
  fault('');
  $('start').disabled = true;
  $('stop').disabled = false;
  const context = new AudioContext();
  const it = now = { context, speaker: new Speaker(context) };
  // Without the canceller it would hear its own answers, and take them for somebody who speaks over them.
  it.microphone = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true } });
  it.voice = await Voice.open(context, (frame) => it.talk?.say(frame, context.sampleRate));
  context.createMediaStreamSource(it.microphone).connect(it.voice.input);
  it.talk = new Talk(new URL('/chains/talk', $('server').value), ['listen', 'reply']);
  it.talk.addEventListener('open', () => { $('file').disabled = false; });
  it.talk.addEventListener('audio', (e) => it.speaker.play(e.detail));
  it.talk.addEventListener('turnover', (e) => {
    it.speaker.drop(e.detail.turn);
    over(e.detail.turn);
  });
  it.talk.addEventListener('observed', (e) => show(e.detail));
  it.talk.addEventListener('fault', (e) => fault(e.detail.text));
  it.talk.addEventListener('close', () => { if (now === it) stop(); });
}

// stop hangs up. It also clears away a beginning that has failed.
function stop() {
  const was = now;
  now = null;
  $('start').disabled = false;
  $('stop').disabled = $('file').disabled = true;
  was?.talk?.close();
  was?.voice?.close();
  for (const track of was?.microphone?.getTracks() ?? []) track.stop();
  was?.context.close();
}

// say plays a file to the chain as if it were spoken into the microphone.
async function say(file) {
  const source = now.context.createBufferSource();
  source.buffer = await now.context.decodeAudioData(await file.arrayBuffer());
  source.connect(now.voice.input);
  source.start();
}

// show writes down what was heard and said, one line for each turn and side.
function show({ step, turn, value }) {
  const side = step === 'listen' ? 'heard' : 'said';
  let line = document.querySelector(`#log .${side}[data-turn="${turn}"]`);
  if (!line) {
    line = document.createElement('li');
    line.className = side;
    line.dataset.turn = turn;
    $('log').append(line);
  }
  if (side === 'said') {
    line.textContent += `${value.text} `;
    return;
  }
  line.textContent = value.text || '...';
  line.classList.toggle('partial', value.kind !== 'final');
}

// over strikes out the answers that were interrupted.
function over(turn) {
  for (const line of document.querySelectorAll('#log .said')) {
    if (Number(line.dataset.turn) <= turn) line.classList.add('over');
  }
}

function fault(text) { $('fault').textContent = text; }
