// A view's model without a kernel: the part of anywidget's interface that the views use. What the kernel would do with
// a view's message, the page does in `answer`.
class LiveModel {
  constructor(state, answer = () => {}) {
    this.state = state;
    this.answer = answer;
    this.heard = {};
  }

  get(name) {
    return this.state[name];
  }

  set(name, value) {
    this.state[name] = value;
    this.tell(`change:${name}`);
  }

  save_changes() {}

  on(event, call) {
    (this.heard[event] ??= new Set()).add(call);
  }

  off(event, call) {
    this.heard[event]?.delete(call);
  }

  send(content) {
    this.answer(content);
  }

  // Hands a message to the view, as one of the kernel.
  deliver(content, buffers = []) {
    this.tell("msg:custom", content, buffers);
  }

  tell(event, ...what) {
    for (const call of this.heard[event] ?? []) call(...what);
  }
}
