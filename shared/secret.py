"""Secret: a text that is never shown."""


class Secret:
    """A text that no log, message or dump shows. Only `reveal` returns it.

    Raises:
        ValueError: if it is empty or has a line break or a NUL character.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not text or set(text) & set("\0\r\n"):
            raise ValueError("a secret is one line of text")
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the client that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)
