// Usage: node generate.mjs FOREGROUND OUTPUT [PROMPT], with Node 18 or later.
// BACKDROP_URL, BACKDROP_PUBLIC_KEY and BACKDROP_PRIVATE_KEY say where and as whom.
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

const {
  BACKDROP_URL: url,
  BACKDROP_PUBLIC_KEY: publicKey,
  BACKDROP_PRIVATE_KEY: privateKey,
} = process.env;

// A value as the signature sees it.
function text(value) {
  if (value === null) return "";
  if (Array.isArray(value)) return value.map(text).join("");
  if (typeof value === "object") {
    return Object.keys(value).sort().map((name) => name + text(value[name])).join("");
  }
  if (typeof value === "number") {
    // Plain decimals: String(1e-7) would have an exponent.
    return value.toLocaleString("en-US", { useGrouping: false, maximumFractionDigits: 20 });
  }
  return String(value);
}

async function call(action, fields) {
  const body = { Action: action, PublicKey: publicKey, ...fields };
  body.Signature = createHash("sha1").update(text(body) + privateKey).digest("hex");
  const headers = { "Content-Type": "application/json" };
  for (;;) {
    const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    const answer = await response.json();
    if (answer.RetCode === 0) return answer;
    if (answer.RetCode !== 2001) throw new Error(`${answer.RetCode} ${answer.Message}`);
    await sleep(1000 * Number(response.headers.get("Retry-After") ?? 5)); // busy
  }
}

async function finished(uid) {
  for (;;) {
    const [task] = (await call("ListTasksDetails", { TaskUIDList: [uid] })).TaskDetailList;
    console.error(task.Status, task.Progress ?? "");
    if (task.Status === "Finished") return task;
    if (task.Status === "Error") throw new Error(`${task.ErrorCode} ${task.ErrorMassage}`);
    await sleep(500);
  }
}

const [foreground, output, prompt = "blue sky"] = process.argv.slice(2);
const { TaskUID: uid } = await call("GenerateBackgrounds", {
  ImageList: [(await readFile(foreground)).toString("base64")],
  PositivePrompts: [prompt],
  TransparentForeground: { ImageIndex: 0 },
});
const image = await fetch((await finished(uid)).ImgList[0]);
if (!image.ok) throw new Error(`HTTP status ${image.status} for the image`);
await writeFile(output, Buffer.from(await image.arrayBuffer()));
console.log(output);
