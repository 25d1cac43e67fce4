// What it hears, as frames of 20 ms of 16-bit samples. While nothing is connected it hears silence.
class Frames extends AudioWorkletProcessor {
  #frame = new Int16Array(Math.round(sampleRate / 50));
  #at = 0;

  process([input], [output]) {
    const samples = input[0] ?? new Float32Array(output[0].length);
    for (const v of samples) {
      this.#frame[this.#at++] = Math.max(-1, Math.min(1, v)) * 0x7fff;
      if (this.#at === this.#frame.length) {
        this.port.postMessage(this.#frame, [this.#frame.buffer]);
        this.#frame = new Int16Array(this.#at);
        this.#at = 0;
      }
    }
    return true;
  }
}

registerProcessor('frames', Frames);
