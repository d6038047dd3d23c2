// The editor page: line numbers, indentation, samples, and running without leaving it.
"use strict";

(() => {
  const FIRST_WAIT_S = 1;
  const TRIES = 4;
  const INDENT = "    ";
  const form = document.getElementById("program");
  const source = document.getElementById("id_source");
  const lines = document.getElementById("lines");
  const runtime = document.getElementById("id_runtime");
  const run = document.getElementById("run");
  const errors = document.getElementById("form-errors");
  const link = document.getElementById("result-link");
  const entryPoint = document.getElementById("id_entry_point");
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const runtimes = read("runtime-data");
  const kept = read("kept-data");

  // Line numbers ------------------------------------------------------------------

  function drawLines() {
    const count = source.value.split("\n").length;
    if (count === Number(lines.dataset.count)) return;
    lines.dataset.count = count;
    lines.textContent = Array.from({ length: count }, (_, index) => index + 1).join("\n");
    follow();
  }

  function follow() {
    lines.scrollTop = source.scrollTop;
  }

  // Writing -----------------------------------------------------------------------

  // execCommand keeps the browser's undo history, which setting the value loses.
  function insert(text) {
    if (!document.execCommand("insertText", false, text)) {
      source.setRangeText(text, source.selectionStart, source.selectionEnd, "end");
    }
    drawLines();
  }

  function lineStart(position) {
    return source.value.lastIndexOf("\n", position - 1) + 1;
  }

  function indentation() {
    const code = source.value;
    return /^\t/m.test(code) || runtime.value === "go" ? "\t" : INDENT;
  }

  function shiftLines(isOutward) {
    const start = lineStart(source.selectionStart);
    const end = source.selectionEnd;
    const block = source.value.slice(start, end);
    const step = indentation();
    const shifted = block
      .split("\n")
      .map((line) => {
        if (isOutward) return line.replace(/^(\t| {1,4})/, "");
        return line === "" ? line : step + line;
      })
      .join("\n");
    if (shifted === block) return;
    source.setSelectionRange(start, end);
    insert(shifted);
    source.setSelectionRange(start, start + shifted.length);
  }

  function breakLine() {
    const before = source.value.slice(lineStart(source.selectionStart), source.selectionStart);
    const indent = before.match(/^[ \t]*/)[0];
    insert("\n" + indent + (/[{[(:]\s*$/.test(before) ? indentation() : ""));
  }

  let tabLeaves = false;

  source.addEventListener("keydown", (event) => {
    if (event.isComposing || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape") {
      tabLeaves = true;
      return;
    }
    if (event.key === "Tab" && !tabLeaves) {
      event.preventDefault();
      const selected = source.value.slice(source.selectionStart, source.selectionEnd);
      if (event.shiftKey) shiftLines(true);
      else if (selected.includes("\n")) shiftLines(false);
      else insert(indentation());
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      breakLine();
    }
    if (event.key !== "Shift") tabLeaves = false;
  });
  source.addEventListener("blur", () => { tabLeaves = false; });
  source.addEventListener("input", drawLines);
  source.addEventListener("scroll", follow, { passive: true });

  // Languages and samples ---------------------------------------------------------

  let sample = source.value;

  function describe() {
    entryPoint.placeholder = runtimes[runtime.value]?.source_name ?? "";
  }

  function loadSample() {
    source.focus();
    source.select();
    insert(runtimes[runtime.value]?.sample ?? "");
    sample = source.value;
    source.setSelectionRange(0, 0);
    source.scrollTop = 0;
  }

  runtime.addEventListener("change", () => {
    describe();
    // A program of one's own is never replaced unasked.
    if (source.value.trim() === "" || source.value === sample) {
      source.value = runtimes[runtime.value]?.sample ?? "";
      sample = source.value;
      drawLines();
    }
  });
  document.getElementById("sample").addEventListener("click", loadSample);

  // Running -----------------------------------------------------------------------

  function submission() {
    const field = (name) => document.getElementById(`id_${name}`).value;
    const filled = (text) => text.split("\n").filter((line) => line !== "");
    const data = { runtime: runtime.value, stdin: field("stdin"), args: filled(field("args")) };
    data.env = Object.fromEntries(
      filled(field("env")).map((line) => {
        const [name, ...value] = line.split("=");
        return [name.trim(), value.join("=")];
      }),
    );
    data.limits = {};
    for (const input of document.querySelectorAll("[data-limit]")) {
      if (input.value !== "") {
        data.limits[input.name] = Math.round(Number(input.value) * Number(input.dataset.scale));
      }
    }
    const chosen = new Set([...document.querySelectorAll("[name=keep]:checked")].map((box) => box.value));
    const others = kept.filter((file) => chosen.has(file.path));
    const name = entryPoint.value.trim();
    if (others.length === 0) {
      data.source = source.value;
      if (name !== "") data.entry_point = name;
    } else {
      data.entry_point = name || runtimes[runtime.value].source_name;
      data.files = [{ path: data.entry_point, content: source.value }, ...others];
    }
    return data;
  }

  function randomKey() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  // The same Idempotency-Key on every try: a lost answer never starts a second run.
  async function send(data) {
    const request = {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "X-CSRFToken": Result.csrfToken(),
        "Idempotency-Key": randomKey(),
      },
      body: JSON.stringify(data),
    };
    for (let left = TRIES; ; left -= 1) {
      try {
        const answer = await fetch(`${form.dataset.submit}?wait=${FIRST_WAIT_S}`, request);
        if (answer.status !== 503 || left === 1) return answer;
      } catch (error) {
        if (left === 1) throw error;
      }
      await new Promise((done) => setTimeout(done, 1000));
    }
  }

  function showErrors(message, fields) {
    errors.replaceChildren();
    const text = document.createElement("p");
    text.textContent = message;
    errors.append(text);
    const list = document.createElement("ul");
    for (const [name, messages] of Object.entries(fields ?? {})) {
      for (const each of messages) {
        const item = document.createElement("li");
        const label = document.createElement("strong");
        label.textContent = name;
        item.append(label, `: ${each}`);
        list.append(item);
      }
      const short = name.replace(/^limits\./, "").split(".")[0];
      document.getElementById(`id_${short}`)?.setAttribute("aria-invalid", "true");
    }
    if (list.childElementCount) errors.append(list);
    errors.hidden = false;
    errors.focus();
  }

  function clearErrors() {
    errors.hidden = true;
    for (const field of document.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  }

  async function refused(answer) {
    if (answer.status === 401 || answer.status === 403) {
      showErrors("You are not logged in any more. Log in on another tab, then press Run again: your program stays here.");
      return;
    }
    try {
      const { error } = await answer.json();
      showErrors(error.fields && Object.keys(error.fields).length ? "The program was not run:" : error.message, error.fields);
    } catch {
      showErrors(`The server answered ${answer.status}. Please try again.`);
    }
  }

  async function submit() {
    clearErrors();
    run.disabled = true;
    document.getElementById("result").setAttribute("aria-busy", "true");
    document.getElementById("announce").textContent = "Running";
    try {
      const answer = await send(submission());
      if (answer.status !== 201) {
        await refused(answer);
        return;
      }
      const execution = await answer.json();
      const page = `/executions/${execution.id}/`;
      link.href = page;
      link.hidden = false;
      history.replaceState(null, "", `${location.pathname}?from=${execution.id}`);
      await Result.follow(`${page}result/`);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      showErrors("The server could not be reached. Please try again.");
    } finally {
      run.disabled = false;
      document.getElementById("result").setAttribute("aria-busy", "false");
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!run.disabled) submit();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit();
  });

  for (const element of document.querySelectorAll(".script-only")) element.hidden = false;
  describe();
  drawLines();
  Result.start();
})();
