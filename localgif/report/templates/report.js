"use strict";
(function () {
  var root = document.documentElement;
  root.classList.add("js");
  var still = window.matchMedia("(prefers-reduced-motion: reduce)");
  var moving = Array.prototype.slice.call(document.querySelectorAll(".gif.moves"));

  function set(box, play) {
    box.querySelector("source").media = play ? "not all" : "all";
    var button = box.querySelector("button");
    button.setAttribute("aria-pressed", String(play));
    button.setAttribute("aria-label", (play ? "Pause: " : "Play: ") + box.querySelector("img").alt);
    button.textContent = play ? "\u275A\u275A" : "\u25B6";
  }

  moving.forEach(function (box) {
    var button = document.createElement("button");
    button.type = "button";
    button.addEventListener("click", function () {
      set(box, button.getAttribute("aria-pressed") !== "true");
      all();
    });
    box.appendChild(button);
    set(box, !still.matches);
  });

  var whole = document.getElementById("play-all");
  function playing() {
    return moving.some(function (box) {
      return box.querySelector("button").getAttribute("aria-pressed") === "true";
    });
  }
  function all() {
    whole.textContent = playing() ? "Pause all GIFs" : "Play all GIFs";
  }
  if (whole) {
    whole.hidden = moving.length === 0;
    whole.addEventListener("click", function () {
      var play = !playing();
      moving.forEach(function (box) { set(box, play); });
      all();
    });
    all();
  }
  still.addEventListener("change", function () {
    moving.forEach(function (box) { set(box, !still.matches); });
    if (whole) { all(); }
  });

  var copy = document.getElementById("copy");
  if (copy) {
    copy.hidden = false;
    copy.addEventListener("click", function () {
      var text = document.getElementById("prompt-text").textContent;
      function said(word) {
        copy.textContent = word;
        setTimeout(function () { copy.textContent = "Copy the prompt"; }, 3000);
      }
      if (!navigator.clipboard) { said("Select it and press Ctrl+C"); return; }
      navigator.clipboard.writeText(text).then(
        function () { said("Copied"); },
        function () { said("Select it and press Ctrl+C"); }
      );
    });
  }

  var form = document.getElementById("filters");
  if (!form) { return; }
  var tiles = Array.prototype.slice.call(document.querySelectorAll("#gallery .tile"));
  var shown = document.getElementById("shown");
  var gallery = document.getElementById("gallery");
  function choose() {
    var purpose = form.elements.purpose.value;
    var candidate = form.elements.candidate.value;
    var outcome = form.elements.outcome.value;
    var count = 0, samples = 0;
    tiles.forEach(function (tile) {
      var fits = (!purpose || tile.dataset.purposes.split(" ").indexOf(purpose) >= 0) &&
        (!candidate || tile.dataset.candidate === candidate) &&
        (!outcome || tile.dataset.outcome === outcome);
      tile.hidden = !fits;
      if (fits) { count += 1; samples += Number(tile.dataset.samples); }
    });
    shown.textContent = samples + (samples === 1 ? " sample in " : " samples in ") + count + (count === 1 ? " tile" : " tiles");
  }
  function sort() {
    var by = form.elements.order.value;
    tiles.slice().sort(function (a, b) {
      var score = Number(b.dataset.score) - Number(a.dataset.score);
      var place = Number(a.dataset.place) - Number(b.dataset.place);
      return by === "best" ? score || place : by === "worst" ? -score || place : place;
    }).forEach(function (tile) { gallery.appendChild(tile); });
  }
  form.hidden = false;
  form.addEventListener("change", function () { choose(); sort(); });
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  choose();
}());
