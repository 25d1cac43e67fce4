// The most that may wait to be sent: some 10 seconds of a microphone. A server that is so far behind is of no use.
const maxWaiting = 1 << 20;

// Talk is one conversation with a chain that takes audio and gives audio, over a WebSocket. What happens are its events:
//   open      it has begun: from now on it hears
//   audio     {turn, sampleHz, channels, samples}: a piece of an answer, samples as an Int16Array
//   turnover  {turn}: it was interrupted, with all before it; nothing of it comes any more
//   observed  {step, turn, value}: what a step has yielded
//   fault     {text}: it has failed
//   close     the end, in any case
export class Talk extends EventTarget {
  #socket;
  #hungUp = false;
  #format; // of the samples that come next
  #sampleHz = 0; // of those that were sent last

  // The url is that of the chain, such as ws://127.0.0.1:8372/chains/talk; observe names the steps to be told of.
  constructor(url, observe = []) {
    super();
    this.#socket = new WebSocket(url);
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.onopen = () => {
      this.#send({ open: { observe } });
      this.#tell('open');
    };
    this.#socket.onmessage = (e) => this.#take(e.data);
    this.#socket.onclose = (e) => {
      if (!this.#hungUp && e.code !== 1000 && e.code !== 4000) this.#tell('fault', { text: e.reason || `the connection broke off (${e.code})` });
      this.#tell('close');
    };
  }

  // say sends samples of one channel, an Int16Array. What is said before the connection is there is lost.
  say(samples, sampleHz) {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    if (this.#socket.bufferedAmount > maxWaiting) {
      this.#tell('fault', { text: 'the server does not keep up' });
      this.close();
      return;
    }
    if (sampleHz !== this.#sampleHz) {
      this.#sampleHz = sampleHz;
      this.#send({ audio: { sample_hz: sampleHz, channels: 1 } });
    }
    this.#socket.send(samples);
  }

  // interrupt ends the answer to a turn.
  interrupt(turn) { this.#send({ interrupt: { turn } }); }

  // end says that nothing more is said: what has been asked is still answered.
  end() { this.#send({ end: {} }); }

  // close hangs up. Nothing is told any more but the end.
  close() {
    this.#hungUp = true;
    this.#socket.onmessage = null;
    this.#socket.close();
  }

  #send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #take(data) {
    if (data instanceof ArrayBuffer) {
      this.#tell('audio', { ...this.#format, samples: new Int16Array(data) });
      return;
    }
    const { audio, turn_over, observed, error } = JSON.parse(data);
    if (audio) this.#format = { turn: audio.turn, sampleHz: audio.sample_hz, channels: audio.channels };
    if (turn_over) this.#tell('turnover', { turn: turn_over.turn });
    if (observed) this.#tell('observed', observed);
    if (error) this.#tell('fault', { text: error.message });
  }

  #tell(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }
}
