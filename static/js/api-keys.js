// The page of API keys: copies a new key.
"use strict";

const copy = document.getElementById("copy");
const key = document.getElementById("new-key");

if (copy && key) {
  copy.hidden = false;
  key.addEventListener("focus", () => key.select());
  copy.addEventListener("click", async () => {
    key.select();
    try {
      await navigator.clipboard.writeText(key.value);
    } catch {
      // Only secure addresses have the clipboard; the older way works everywhere.
      document.execCommand("copy");
    }
    copy.textContent = "Copied";
  });
}
