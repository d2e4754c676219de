"""What a person does with a page in a browser, and what they see of it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.servers.chromium import Chromium

#: Seconds for a browser on a busy machine.
PATIENCE = 30.0
#: What a key is to the browser: its code, and the letter that it writes.
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, ""), "Space": (32, " ")}


class Tab:
    """One tab, with a storage of its own, and a note of all that it asked of the network and said to its console."""

    def __init__(self, chromium: Chromium, width: int = 1000, height: int = 700) -> None:
        self._chromium = chromium
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._context = chromium.ask("Target.createBrowserContext")["browserContextId"]
        target = chromium.ask("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = chromium.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        chromium.listen(self._session, self._heard)
        for domain in ("Page", "Network", "Runtime", "Log", "Accessibility"):
            self.do(f"{domain}.enable")
        self.resize(width, height)

    def do(self, what: str, **words: Any) -> dict[str, Any]:
        """A command of the protocol."""
        return self._chromium.ask(what, self._session, **words)

    def close(self) -> None:
        """Close it, with all that it kept."""
        self._chromium.ask("Target.disposeBrowserContext", browserContextId=self._context)

    def resize(self, width: int, height: int) -> None:
        """As a window of this size."""
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        """Dark or light."""
        self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url: str) -> None:
        """Go there."""
        self.do("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """What an expression is in the page; None while there is none."""
        found = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return found["result"].get("value")

    def wait(self, expression: str, what: str) -> Any:
        """The first true value of an expression."""
        return wait_until(lambda: self.value(expression), what, PATIENCE, 0.02)

    def text(self, chosen: str) -> str:
        """What is written there, as it is seen."""
        return str(self.value(f"document.querySelector({json.dumps(chosen)})?.innerText ?? ''"))

    def reads(self, chosen: str, words: str) -> None:
        """Wait until this is written there, and can be seen."""
        it = f"document.querySelector({json.dumps(chosen)})"
        asked = f"{it}?.checkVisibility() && {it}.innerText.includes({json.dumps(words)})"
        try:
            self.wait(asked, f"{words!r} in {chosen}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}, which reads {self.text(chosen)!r}") from None

    def click(self, chosen: str) -> None:
        """Use it, as soon as it is there: found and clicked in one step, whatever moves meanwhile."""
        found = f"document.querySelector({json.dumps(chosen)})"
        self.wait(f"(() => {{ const it = {found}; it?.click(); return !!it }})()", f"{chosen} to be there")

    def look(self) -> None:
        """Have the page look at once, and not in two seconds."""
        self.click("#filter button")

    def press(self, key: str) -> None:
        """On the keyboard."""
        code, letter = _KEYS[key]
        of = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code}
        self.do("Input.dispatchKeyEvent", type="keyDown", **of, **({"text": letter} if letter else {}))
        self.do("Input.dispatchKeyEvent", type="keyUp", **of)

    def type(self, text: str) -> None:
        """Where the focus is."""
        self.do("Input.insertText", text=text)

    def nodes(self) -> list[tuple[str, str]]:
        """Role and name of all that a screen reader is told of."""
        found = self.do("Accessibility.getFullAXTree")["nodes"]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in found if not node["ignored"]]

    def picture(self, scale: float = 1) -> bytes:
        """All of the page, as PNG."""
        size = self.do("Page.getLayoutMetrics")["cssContentSize"]
        taken = self.do("Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": scale})
        return base64.b64decode(taken["data"])

    def _heard(self, what: str, told: dict[str, Any]) -> None:
        if what == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        elif what == "Log.entryAdded":
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif what in {"Runtime.exceptionThrown", "Runtime.consoleAPICalled"}:
            self.complaints.append(json.dumps(told)[:500])
