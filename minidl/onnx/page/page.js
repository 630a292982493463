// Classify a photo with the model beside this page. The photo stays in the browser.
"use strict";

const model = JSON.parse(document.getElementById("model").textContent);
const runtime = new URL("node_modules/onnxruntime-web/dist/", document.baseURI).href;
const element = (id) => document.getElementById(id);
const SHOWN = 5; // classes

function say(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

// Load the runtime and the model once, when the page opens.
const session = new Promise((resolve, reject) => {
  const script = document.createElement("script");
  script.src = runtime + "ort.wasm.min.js";
  script.onload = resolve;
  script.onerror = () => reject(new Error("missing runtime"));
  document.head.append(script);
}).then(async () => {
  ort.env.wasm.wasmPaths = runtime;
  ort.env.wasm.numThreads = 1; // several threads need headers that simple servers do not send
  const response = await fetch("model.onnx");
  if (!response.ok) throw new Error(`model.onnx: ${response.status}`);
  return ort.InferenceSession.create(new Uint8Array(await response.arrayBuffer()));
});

session.then(() => say("The model is ready."), (error) => {
  if (location.protocol === "file:") {
    say("Browsers load no model from disk: run python -m http.server in this folder and open " +
      "http://localhost:8000.", true);
  } else if (error.message === "missing runtime") {
    say("onnxruntime-web is missing: run npm install onnxruntime-web in this folder and reload " +
      "the page.", true);
  } else {
    say(`The model cannot be loaded (${error.message}).`, true);
  }
});

// Return the pixels of a photo, upright, over white, without conversion of its colors.
async function decode(file) {
  const bitmap = await createImageBitmap(file, {
    colorSpaceConversion: "none", premultiplyAlpha: "default", imageOrientation: "from-image",
  });
  const canvas = element("photo");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

// Average blocks of k x k pixels, nearly as minidl's JPEG decoder does: it decodes a large photo at
// 1/2, 1/4 or 1/8 of its size, but at least at twice the size that the model takes.
function reduce(image, isJpeg) {
  const least = 2 * Math.max(...model.image_size);
  const ratio = Math.min(Math.floor(image.width / least), Math.floor(image.height / least));
  const k = isJpeg ? [8, 4, 2, 1].find((n) => n <= Math.max(ratio, 1)) : 1;
  if (k === 1) return image;
  const width = Math.ceil(image.width / k), height = Math.ceil(image.height / k);
  const data = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const bottom = Math.min((y + 1) * k, image.height), right = Math.min((x + 1) * k, image.width);
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let i = y * k; i < bottom; i++) {
          for (let j = x * k; j < right; j++) sum += image.data[4 * (i * image.width + j) + channel];
        }
        data[4 * (y * width + x) + channel] = sum / ((bottom - y * k) * (right - x * k));
      }
    }
  }
  return { data, width, height };
}

// Return uint8 (1, H, W, C) as the model takes it: RGB, or gray with Pillow's weights.
function tensorOf({ data, width, height }) {
  const channels = model.color_mode === "grayscale" ? 1 : 3;
  const pixels = new Uint8Array(width * height * channels);
  for (let i = 0, k = 0; i < data.length; i += 4) {
    if (channels === 3) {
      pixels[k++] = data[i];
      pixels[k++] = data[i + 1];
      pixels[k++] = data[i + 2];
    } else {
      pixels[k++] = (data[i] * 19595 + data[i + 1] * 38470 + data[i + 2] * 7471 + 0x8000) >> 16;
    }
  }
  return new ort.Tensor("uint8", pixels, [1, height, width, channels]);
}

// Return class, probability and OOD score; one number stands for two classes.
async function classify(file) {
  const image = reduce(await decode(file), file.type === "image/jpeg");
  const outputs = await (await session).run({ input: tensorOf(image) });
  const numbers = Array.from(outputs.output.data);
  const p = numbers.length === 1 ? [1 - numbers[0], numbers[0]] : numbers;
  const classes = p.map((probability, i) => ({ name: model.class_names[i], probability }));
  classes.sort((a, b) => b.probability - a.probability);
  return { classes, score: outputs.ood_score ? outputs.ood_score.data[0] : null };
}

function show({ classes, score }) {
  const percent = (p) => `${(100 * p).toFixed(1)} %`;
  const [best] = classes;
  const isKnown = score === null || score <= model.ood_threshold;
  element("verdict").textContent = isKnown
    ? `${best.name} ${percent(best.probability)}`
    : `unknown (OOD score ${score.toFixed(2)}, threshold ${model.ood_threshold})`;
  element("classes").replaceChildren(...classes.slice(0, SHOWN).map(({ name, probability }) => {
    const row = document.createElement("tr");
    row.dataset.probability = probability;
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    const bar = document.createElement("td");
    bar.className = "bar";
    const fill = document.createElement("div");
    fill.style.width = `${100 * probability}%`;
    bar.append(fill);
    const number = document.createElement("td");
    number.className = "number";
    number.textContent = percent(probability);
    row.append(head, bar, number);
    return row;
  }));
  element("photo").setAttribute("aria-label", `The photo: ${element("verdict").textContent}`);
  element("result").hidden = false;
}

async function open(file) {
  if (!file) return;
  say(`Classifying ${file.name} ...`);
  try {
    const result = await classify(file);
    show(result);
    say(`${file.name}: ${element("verdict").textContent}`);
    element("result").dataset.file = file.name;
  } catch (error) {
    element("result").hidden = true;
    say(`${file.name}: cannot be classified (${error.message}).`, true);
  }
}

element("file").addEventListener("change", (event) => open(event.target.files[0]));
const drop = element("drop");
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
// A photo dropped beside the field must not replace the page.
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  open(event.dataTransfer.files[0]);
});
