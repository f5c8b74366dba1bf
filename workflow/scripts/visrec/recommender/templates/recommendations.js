"use strict";
// The page is complete without this: it only hides what is not looked for.
const form = document.getElementById("filter");
const queries = [...document.querySelectorAll("article.query")].map((article) => ({
  article,
  name: article.querySelector("h2").textContent.toLowerCase(),
  answers: [...article.querySelectorAll("li")].map((item) => ({ item, text: item.textContent.toLowerCase() })),
}));
const show = () => {
  const chosen = (name) => (form.elements[name] ? form.elements[name].value : "");
  const words = chosen("find").toLowerCase().trim();
  let shown = 0;
  for (const { article, name, answers } of queries) {
    let left = 0;
    for (const { item, text } of answers) { // all of a query that has the words in its own name
      item.hidden = (chosen("label") && item.dataset.label !== chosen("label")) || !(name.includes(words) || text.includes(words));
      left += !item.hidden;
    }
    const off = chosen("typicality") && article.dataset.typicality !== chosen("typicality");
    const alone = !answers.length && !chosen("label") && name.includes(words);
    article.hidden = off || !(left || alone);
    shown += !article.hidden;
  }
  form.querySelector("output").textContent = `${shown} of ${queries.length} pictures`;
};
form.hidden = queries.length < 2;
form.addEventListener("submit", (event) => event.preventDefault());
for (const kind of ["input", "change"]) form.addEventListener(kind, show);
show();
