// Speaker plays pieces of audio one after the other, and forgets those of turns that are over.
export class Speaker {
  #context;
  #playing = new Map(); // sources to their turns
  #next = 0; // when the next piece begins, in the context's time

  constructor(context) {
    this.#context = context;
    this.output = context.createGain();
    this.output.connect(context.destination);
  }

  // play adds 16-bit samples, whose channels take turns.
  play({ turn, sampleHz, channels, samples }) {
    const frames = samples.length / channels;
    if (frames === 0) return;
    const buffer = this.#context.createBuffer(channels, frames, sampleHz);
    for (let c = 0; c < channels; c++) {
      const to = buffer.getChannelData(c);
      for (let i = 0; i < frames; i++) to[i] = samples[i * channels + c] / 0x8000;
    }
    const source = this.#context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.output);
    source.onended = () => this.#playing.delete(source);
    const at = Math.max(this.#next, this.#context.currentTime);
    source.start(at);
    this.#next = at + buffer.duration;
    this.#playing.set(source, turn);
  }

  // drop ends what is left of a turn and of all before it.
  drop(turn) {
    for (const [source, its] of this.#playing) {
      if (its > turn) continue;
      source.stop();
      source.disconnect();
      this.#playing.delete(source);
    }
    // The server sends nothing of a later turn before it says that this one is over.
    this.#next = 0;
  }

  // turns returns the turns that are still to be heard.
  get turns() { return new Set(this.#playing.values()); }
}
