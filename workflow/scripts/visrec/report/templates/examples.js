// The examples: what the template shows of the first query, this shows of the one that is picked.
for (const root of document.querySelectorAll(".examples")) {
  const chapter = root.dataset.chapter;
  const data = JSON.parse(document.getElementById(`data-${chapter}`).textContent);
  const { encoders, items, selections } = data.examples;
  const selects = [...root.querySelectorAll(".encoder")];
  const selected = root.querySelector(".selection");
  const picker = root.querySelector("fieldset");
  const [about, says, asked, answers] = [".about", ".says", ".asked", ".answers"].map((each) => root.querySelector(each));
  let shown = null;

  const listed = () => selections[selected.value].items[selects[0].value];

  const neighbour = ([number, below, right]) => {
    const { id, label } = data.pictures[number];
    const line = element("li", right === null ? "unknown" : right ? "right" : "wrong");
    const what = element("span", "what");
    what.title = label || id;
    if (right !== null) {
      const tick = element("span", "tick", right ? "✓" : "✗");
      tick.append(element("span", "hidden", right ? " right: " : " wrong: "));
      what.append(tick, " ");
    }
    what.append(label || id);
    line.append(pictureOf(data, chapter, number), what, element("span", "far", below));
    return line;
  };

  const answer = (item, select) => {
    const encoder = encoders[select.value];
    const block = element("div", "answer");
    const head = document.createElement("p");
    const name = element("span", "name", encoder.name);
    name.style.cssText = select.selectedOptions[0].style.cssText; // its colour and shape
    head.append(name, " ", element("small", "", item.answers[select.value].says));
    const list = document.createElement("ol");
    list.append(...item.answers[select.value].found.map(neighbour));
    block.append(head, list);
    return block;
  };

  const show = (number) => {
    shown = number;
    const item = items[number];
    asked.replaceChildren(pictureOf(data, chapter, item.asked), captionOf(data.pictures[item.asked], item.kind));
    answers.replaceChildren(...selects.map((select) => answer(item, select)));
    const said = selects.map((select) => `${encoders[select.value].name}: ${item.answers[select.value].says}`);
    says.textContent = [item.says, ...said].join("; ");
    document.dispatchEvent(new CustomEvent("shown", { detail: { chapter, picture: item.asked } }));
  };

  const offer = () => {
    const numbers = listed();
    about.textContent = selections[selected.value].about;
    const kept = numbers.includes(shown) ? shown : numbers[0];
    picker.replaceChildren(picker.querySelector("legend"), ...numbers.map((number) => {
      const label = document.createElement("label");
      const radio = document.createElement("input");
      radio.type = "radio";
      radio.name = `query-${chapter}`;
      radio.value = number;
      radio.checked = number === kept;
      label.append(radio, pictureOf(data, chapter, items[number].asked));
      return label;
    }));
    if (numbers.length) return show(kept);
    shown = null;
    asked.replaceChildren();
    answers.replaceChildren(element("p", "note", `${encoders[selects[0].value].name} has none.`));
    says.textContent = answers.textContent;
  };

  selected.addEventListener("change", offer);
  selects.forEach((select) => select.addEventListener("change", offer));
  picker.addEventListener("change", (event) => show(Number(event.target.value)));
  document.addEventListener("picked", ({ detail }) => {
    const number = items.findIndex((item) => item.kind === "query" && item.asked === detail.picture);
    if (detail.chapter !== chapter || number < 0) return;
    if (!listed().includes(number)) selected.value = selections.findIndex((one) => one.items[0].includes(number));
    shown = number;
    offer();
  });
  root.querySelector(".choose").hidden = picker.hidden = false;
  offer();
}
