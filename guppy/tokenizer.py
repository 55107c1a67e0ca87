"""Byte-level BPE and character tokenizers behind one face.

Both kinds are a `tokenizers.Tokenizer` with a BPE model, so both are stored as one Hugging Face
`tokenizer.json`, and both round-trip any UTF-8 text:

- *bpe* works on bytes (GPT-2's alphabet of 256 printable stand-ins), so nothing is ever unknown;
- *char* has the characters of its training text and falls back to UTF-8 bytes for all others.

Special tokens are written by us, never by a person: text that spells `<|im_end|>` stays text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from guppy.errors import GuppyError

PAD, IM_START, IM_END = SPECIALS = ("<|pad|>", "<|im_start|>", "<|im_end|>")
ROLES = ("user", "assistant")

_SPECIAL_TEXT = re.compile("|".join(map(re.escape, SPECIALS)))
_SURROGATE = re.compile("[\ud800-\udfff]")
# Published guppylm tokenizers call the padding token by this name.
_PAD_NAMES = (PAD, "<pad>")


class Tokenizer:
    """Text to token ids and back.

    Attributes:
        kind: "bpe" or "char".
        vocab_size: how many tokens exist.
        padded_vocab_size: `vocab_size` rounded up to a multiple of 64: the rows of the model's embedding.
        pad_id, im_start_id, im_end_id: the special tokens.
    """

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        state = json.loads(inner.to_str())
        self.kind: Literal["bpe", "char"] = "char" if state["model"].get("byte_fallback") else "bpe"
        self._json = json.dumps(state, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        # `encode_special_tokens` is a mutable switch on the object, so each setting has its own object.
        self._with_specials = inner
        self._as_text = tokenizers.Tokenizer.from_str(self._json)
        self._as_text.encode_special_tokens = True

        self.vocab_size: int = inner.get_vocab_size(with_added_tokens=True)
        self.padded_vocab_size: int = -(-self.vocab_size // 64) * 64
        self.pad_id: int = self._special(*_PAD_NAMES)
        self.im_start_id: int = self._special(IM_START)
        self.im_end_id: int = self._special(IM_END)
        self._special_ids = frozenset((self.pad_id, self.im_start_id, self.im_end_id))
        self._bytes = [self._bytes_of(i) for i in range(self.vocab_size)]

    # -- text to ids -----------------------------------------------------------------------------

    def encode(self, text: str, *, specials: bool = False) -> list[int]:
        """Token ids of `text`. With `specials=False` a spelled-out `<|im_end|>` is ordinary text."""
        inner = self._with_specials if specials else self._as_text
        return inner.encode(_clean(text), add_special_tokens=False).ids

    def encode_chat(self, turns: str | Sequence[tuple[str, str]], *, reply: bool = True) -> list[int]:
        """Token ids of a conversation in ChatML.

        Args:
            turns: one user turn as a string, or (role, text) pairs; roles are "user" and "assistant".
            reply: end with the header of the assistant's turn, so that the model answers.

        Raises:
            GuppyError: for another role.
        """
        turns = [("user", turns)] if isinstance(turns, str) else turns
        ids = self.encode_chats([turns])[0]
        if reply:
            ids += [*self.encode("\n"), self.im_start_id, *self.encode("assistant\n")]
        return ids

    def encode_chats(self, chats: Sequence[Sequence[tuple[str, str]]]) -> list[list[int]]:
        """Token ids of many conversations at once, several times as fast as one by one; raises as `encode_chat`."""
        for role in {role for turns in chats for role, _ in turns}:
            if role not in ROLES:
                raise GuppyError(f"unknown role {role!r} in a conversation; use 'user' or 'assistant'")
        # Role, newline and text are one stretch for the tokenizer, as they are when it reads ChatML.
        texts = [_clean(f"{role}\n{text}") for turns in chats for role, text in turns]
        stretches = iter(self._as_text.encode_batch_fast(texts, add_special_tokens=False))
        newline = self.encode("\n")
        found = []
        for turns in chats:
            ids: list[int] = []
            for index in range(len(turns)):
                ids += newline if index else []
                ids += [self.im_start_id, *next(stretches).ids, self.im_end_id]
            found.append(ids)
        return found

    # -- ids to text -----------------------------------------------------------------------------

    def decode(self, ids: Iterable[int], *, specials: bool = True) -> str:
        """Text of the ids. Bytes that are no UTF-8 become U+FFFD; ids beyond the vocabulary say nothing.

        Args:
            specials: keep special tokens as their text, or drop them.
        """
        drop = frozenset() if specials else self._special_ids
        return b"".join(self._token_bytes(i) for i in map(int, ids) if i not in drop).decode("utf-8", errors="replace")

    def token_strings(self, ids: Iterable[int]) -> list[str]:
        """One printable string for each id: the token's own text, its stray bytes written like ⟨e2⟩."""
        return [
            "".join(_readable(self._token_bytes(i))) if 0 <= i < self.vocab_size else "⟨unused⟩" for i in map(int, ids)
        ]

    # -- files -----------------------------------------------------------------------------------

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON (sorted keys, no spaces), the same on every machine."""
        return hashlib.sha256(self._json.encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write `tokenizer.json` as `tokenizers` and `transformers` read it."""
        Path(path).write_text(self._with_specials.to_str(pretty=True), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a `tokenizer.json`.

        Raises:
            GuppyError: the file is missing, broken, or of a kind that cannot spell every text.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise GuppyError(f"there is no tokenizer at {path}; give the path of a tokenizer.json") from None
        except (OSError, UnicodeDecodeError) as error:
            raise GuppyError(f"the tokenizer {path} cannot be read ({error}); copy it again") from None
        try:
            inner = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exception for every kind of broken JSON
            raise GuppyError(f"{path} is not a tokenizer.json ({error}); copy it again") from None
        try:
            return cls(inner)
        except GuppyError as error:
            raise GuppyError(f"the tokenizer {path} does not fit: {error}") from None

    # -- inside ----------------------------------------------------------------------------------

    def _special(self, *names: str) -> int:
        for name in names:
            if (found := self._with_specials.token_to_id(name)) is not None:
                return found
        raise GuppyError(f"it has no token {names[0]}; use one that was trained for ChatML")

    def _bytes_of(self, token_id: int) -> bytes:
        token = self._with_specials.id_to_token(token_id)
        if token is None:
            return b""
        if self.kind == "char":
            is_byte = re.fullmatch(r"<0x([0-9A-F]{2})>", token)
            return bytes.fromhex(is_byte[1]) if is_byte else token.encode()
        try:
            return bytes(_BYTE_OF[character] for character in token)
        except KeyError:
            if token_id in self._special_ids:
                return token.encode()
            raise GuppyError(f"its token {token!r} is not byte-level; use a byte-level BPE") from None

    def _token_bytes(self, token_id: int) -> bytes:
        # The model's vocabulary is padded, so an untrained model can produce ids that no token has.
        return self._bytes[token_id] if 0 <= token_id < self.vocab_size else b""


def train_bpe(texts: Iterable[str], vocab_size: int = 2048) -> Tokenizer:
    """Train byte-level BPE (Sennrich et al. 2016, on bytes as in GPT-2) with all 256 bytes in its alphabet.

    Args:
        texts: training text only; special tokens in it are taken out first.
        vocab_size: at most this many tokens, the specials and 256 bytes included. Fewer come out when
            no pair of neighbours occurs twice any more.

    Raises:
        GuppyError: `vocab_size` does not hold the specials and the bytes.
    """
    smallest = len(SPECIALS) + 256
    if vocab_size < smallest:
        raise GuppyError(f"a BPE vocabulary of {vocab_size} is too small; give at least {smallest}")
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(_BYTE_OF),
        show_progress=False,
    )
    inner.train_from_iterator(_ordinary_text(texts), trainer=trainer)
    return Tokenizer(inner)


def train_char(texts: Iterable[str]) -> Tokenizer:
    """A token for each character of the training text, and one for each UTF-8 byte it might still need.

    Bytes of characters that have their own token, and bytes that UTF-8 never uses, get none; so ASCII text
    comes to 246 tokens, padded to 256.
    """
    characters = sorted({character for text in _ordinary_text(texts) for character in text})
    utf8 = (*range(0x80), *range(0x80, 0xC0), *range(0xC2, 0xF5))
    tokens = [
        *SPECIALS,
        *characters,
        *(f"<0x{byte:02X}>" for byte in utf8 if chr(byte) not in characters or byte > 0x7F),
    ]
    vocab = {token: index for index, token in enumerate(tokens)}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True))
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    inner.add_special_tokens(list(SPECIALS))
    return Tokenizer(inner)


def _ordinary_text(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from filter(None, _SPECIAL_TEXT.split(_clean(text)))


def _clean(text: str) -> str:
    """Lone surrogates (half of a character, from broken JSON) are no text; U+FFFD stands for them."""
    return text if text.isascii() else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _readable(raw: bytes) -> Iterator[str]:
    """The valid UTF-8 stretches of `raw` as text, every other byte as ⟨hex⟩."""
    while raw:
        try:
            yield raw.decode("utf-8")
            return
        except UnicodeDecodeError as error:
            yield raw[: error.start].decode("utf-8")
            yield "".join(f"⟨{byte:02x}⟩" for byte in raw[error.start : error.end])
            raw = raw[error.end :]


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for the characters from U+0100 up."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
