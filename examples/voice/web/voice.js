// Voice makes frames of 16-bit samples of all that is connected to its input.
export class Voice {
  #node;

  // open gives onFrame an Int16Array of 20 ms at the context's rate, again and again.
  static async open(context, onFrame) {
    await context.audioWorklet.addModule(new URL('frames.js', import.meta.url));
    return new Voice(context, onFrame);
  }

  constructor(context, onFrame) {
    this.#node = new AudioWorkletNode(context, 'frames', {
      channelCount: 1, channelCountMode: 'explicit', outputChannelCount: [1],
    });
    this.#node.port.onmessage = (e) => onFrame(e.data);
    this.#node.connect(context.destination); // it gives silence, but runs only if somebody listens
  }

  get input() { return this.#node; }

  close() {
    this.#node.port.onmessage = null;
    this.#node.disconnect();
  }
}
