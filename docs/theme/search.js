"use strict";
// Searches the pages without a request: the index is a script beside the pages, loaded when it is first needed.
(() => {
  const MOST = 20, AROUND = 60;
  const base = document.currentScript.dataset.base.replace(/\/?$/, "/");
  let isLoading = false;

  const add = (parent, tag, text) => {
    const made = parent.appendChild(document.createElement(tag));
    made.textContent = text;
    return made;
  };

  // Every word must stand in the section; in its title it counts ten times.
  const score = (section, words) => {
    let sum = 0;
    for (const word of words) {
      const inTitle = section.title.toLowerCase().includes(word);
      const times = section.text.toLowerCase().split(word).length - 1;
      if (!inTitle && !times) return 0;
      sum += (inTitle ? 10 : 0) + Math.min(times, 5);
    }
    // Long sections have every word somewhere.
    return sum / Math.log2(16 + section.text.length / 16);
  };

  const around = (text, word) => {
    const place = Math.max(text.toLowerCase().indexOf(word), 0);
    const start = Math.max(place - AROUND, 0);
    return (start ? "… " : "") + text.slice(start, place + AROUND) + "…";
  };

  const show = (input, results) => {
    const words = input.value.toLowerCase().split(/\s+/).filter((word) => word.length > 1);
    results.replaceChildren();
    results.hidden = !words.length;
    if (!words.length || !window.searchIndex) return;
    const matches = window.searchIndex
      .map((section) => ({ section, points: score(section, words) }))
      .filter((match) => match.points)
      .sort((a, b) => b.points - a.points);
    add(results, "p", matches.length ? `${matches.length} sections` : "nothing fits");
    const list = add(results, "ul", "");
    for (const { section } of matches.slice(0, MOST)) {
      const row = add(list, "li", "");
      const link = add(row, "a", section.title);
      link.href = base + section.location;
      add(row, "p", around(section.text, words[0]));
    }
  };

  const input = document.getElementById("search");
  const results = document.getElementById("results");
  const search = () => {
    if (window.searchIndex || isLoading) return show(input, results);
    isLoading = true;
    const script = document.createElement("script");
    script.src = base + "search/search_index.js";
    script.onload = () => show(input, results);
    script.onerror = () => add(results, "p", "the index of this site cannot be read");
    document.head.append(script);
  };
  input.addEventListener("input", search);
  input.form.addEventListener("submit", (event) => event.preventDefault());
})();
