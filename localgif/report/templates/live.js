"use strict";
(function () {
  var gallery = document.getElementById("gallery");
  var head = document.getElementById("head");
  var lost = document.getElementById("lost");
  var button = document.getElementById("play-all");
  var pause = Number(document.getElementById("main").dataset.pause);
  var still = window.matchMedia("(prefers-reduced-motion: reduce)");
  var plays = !still.matches;
  var have = 0;

  function set(box) {
    var source = box.querySelector("source");
    if (source) { source.media = plays ? "not all" : "all"; }
  }
  function all() {
    button.textContent = plays ? "Pause all GIFs" : "Play all GIFs";
    document.querySelectorAll(".gif.moves").forEach(set);
  }
  button.addEventListener("click", function () { plays = !plays; all(); });
  still.addEventListener("change", function () { plays = !still.matches; all(); });
  all();

  function show(state) {
    if (head.innerHTML !== state.head) { head.innerHTML = state.head; }
    state.tiles.forEach(function (tile) {
      gallery.insertAdjacentHTML("afterbegin", tile);
      set(gallery.firstElementChild);
    });
    have = state.total;
    lost.hidden = true;
    if (!state.running) { window.location.reload(); return; }
    setTimeout(ask, pause);
  }
  function ask() {
    fetch("state?after=" + have).then(function (answer) {
      if (!answer.ok) { return answer.text().then(function (text) { throw new Error(text); }); }
      return answer.json();
    }).then(show).catch(function (error) {
      lost.textContent = "No update: " + error.message + ". If localgif view has ended, start it again.";
      lost.hidden = false;
      setTimeout(ask, 4 * pause);
    });
  }
  ask();
}());
