"""The little that runs in the visitor's browser: texts of functions that Gradio calls."""

from __future__ import annotations

import json

from api.ui.tickets import COOKIE, KEEP_S

# sessionStorage belongs to one tab of one origin and ends with it.
RECALL_KEYS = """() => ["backdrop-public", "backdrop-private"]
    .map((name) => sessionStorage.getItem(name) ?? "")"""

KEEP_KEYS = f"""(publicKey, privateKey, ticket) => {{
    if (!ticket) return;
    sessionStorage.setItem("backdrop-public", publicKey);
    sessionStorage.setItem("backdrop-private", privateKey);
    const secure = location.protocol === "https:" ? "; Secure" : "";
    const path = new URL(".", document.baseURI).pathname;
    document.cookie = `{COOKIE}=${{ticket}}; Path=${{path}}; Max-Age={KEEP_S}; ` +
        `SameSite=Strict${{secure}}`;
}}"""

# On a phone what follows the button is below the screen.
SHOW_STATUS, SHOW_PICTURE = (
    f"""() => setTimeout(() => document.querySelector("{element}")?.scrollIntoView(
        {{block: "nearest", behavior: "smooth"}}), 400)"""
    for element in ("#status", "#picture")
)

FORGET_KEYS = f"""() => {{
    sessionStorage.removeItem("backdrop-public");
    sessionStorage.removeItem("backdrop-private");
    sessionStorage.removeItem("backdrop-sweep");
    const path = new URL(".", document.baseURI).pathname;
    document.cookie = `{COOKIE}=; Path=${{path}}; Max-Age=0`;
    location.reload();
}}"""

# The sweep of this tab, to be found again after a reload.
RECALL_SWEEP = """() => sessionStorage.getItem("backdrop-sweep") || null"""

KEEP_SWEEP = """(id) => { if (id) sessionStorage.setItem("backdrop-sweep", id); }"""

COPY, COPIED, NOT_COPIED = "Copy the exact JSON", "Copied", "Not copied: take the file"

# Megabytes of Base64, so it is fetched when it is asked for. A browser that has no clipboard for
# pages without TLS still copies what is selected; Safari wants to be told before the text is there.
COPY_FILE = f"""async (file) => {{
    const text = fetch(file.url).then((answer) => answer.ok ? answer.text() : Promise.reject());
    try {{
        if (navigator.clipboard && window.ClipboardItem) {{
            const blob = text.then((exact) => new Blob([exact], {{type: "text/plain"}}));
            await navigator.clipboard.write([new ClipboardItem({{"text/plain": blob}})]);
        }} else {{
            const area = document.createElement("textarea");
            area.value = await text;
            document.body.append(area);
            area.select();
            const copied = document.execCommand("copy");
            area.remove();
            if (!copied) throw new Error("refused");
        }}
        return {json.dumps(COPIED)};
    }} catch {{
        return {json.dumps(NOT_COPIED)};
    }}
}}"""

COPY_AGAIN = f"""() => new Promise((resolve) =>
    setTimeout(() => resolve({json.dumps(COPY)}), 2000))"""
