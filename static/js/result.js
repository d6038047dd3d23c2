// Follows one execution: waits for it at the server, and draws what the server rendered.
// Loaded by every page that shows a result; offers one object, Result.
"use strict";

const Result = (() => {
  // The server answers early when the run ends, but not when it leaves the queue.
  const WAIT_S = 25;
  const QUEUE_WAIT_S = 3;
  const RETRY_MS = 1000;
  const body = document.getElementById("result-body");
  const card = document.getElementById("result");
  const announcement = document.getElementById("announce");
  let followed = null;

  const pause = (ms) => new Promise((done) => setTimeout(done, ms));

  function csrfToken() {
    return document.querySelector("[name=csrfmiddlewaretoken]").value;
  }

  function current() {
    return body.querySelector("[data-result]");
  }

  // The fragment is HTML by our own templates, which escape everything in it.
  function draw(html) {
    const opened = [...body.querySelectorAll("details")].map((details) => details.open);
    body.innerHTML = html;
    body.querySelectorAll("details").forEach((details, index) => {
      details.open = opened[index] ?? details.open;
    });
    const result = current();
    const isFinal = result.dataset.final === "true";
    card.setAttribute("aria-busy", String(!isFinal));
    announcement.textContent = result.dataset.announce;
    return isFinal;
  }

  function say(text) {
    const message = document.createElement("p");
    message.className = "message message-error";
    message.textContent = text;
    body.prepend(message);
    announcement.textContent = text;
  }

  // Resolves when the execution is final, or another one is followed instead.
  async function follow(address) {
    const mine = {};
    followed = mine;
    let waits = 0;
    while (followed === mine) {
      try {
        const answer = await fetch(`${address}?wait=${waits}`, { redirect: "manual" });
        if (followed !== mine) return;
        if (answer.status === 404) {
          say("This execution does not exist any more.");
          return;
        }
        if (answer.type === "opaqueredirect") {
          say("You are not logged in any more. The run goes on: log in to see its result.");
          return;
        }
        if (answer.ok) {
          if (draw(await answer.text())) return;
          waits = current().dataset.status === "queued" ? QUEUE_WAIT_S : WAIT_S;
          continue;
        }
      } catch (error) {
        // The server is away.
        if (!(error instanceof TypeError)) throw error;
      }
      await pause(RETRY_MS);
    }
  }

  async function cancel() {
    const result = current();
    const button = result.querySelector("[data-cancel-form] button");
    if (button) {
      button.disabled = true;
      button.textContent = "Cancelling…";
    }
    await fetch(result.dataset.cancel, {
      method: "POST",
      headers: { "X-CSRFToken": csrfToken(), "Content-Type": "application/json" },
    });
  }

  function start() {
    const result = current();
    if (result && result.dataset.final === "false") follow(result.dataset.follow);
  }

  body.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-cancel-form]")) return;
    event.preventDefault();
    cancel().catch(() => say("The server could not be reached. Please try again."));
  });

  return { follow, start, say, draw, csrfToken };
})();
