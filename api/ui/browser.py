"""The little that runs in the visitor's browser: texts of functions that Gradio calls."""

from __future__ import annotations

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
    const path = new URL(".", document.baseURI).pathname;
    document.cookie = `{COOKIE}=; Path=${{path}}; Max-Age=0`;
    location.reload();
}}"""
