"""Strings that exercise a byte-level BPE tokenizer, generated from a fixed seed."""

import random
import sys
import unicodedata

ENGLISH = ("the of and to in is that for it as was with be by on not he his but at are this have from or had an they "
           "which one you were all her she there would their we him been has when who will no more if out so up said "
           "what its about than into them can only other time new some could these two may first then do any like my "
           "now over such our man me even most made after also did many off before must well back through years where "
           "model tensor pipeline distributed launch cluster inference attention expert layer token cache don't it's "
           "I'm we'll they've can't HTTP JSON iPhone McDonald naïve café résumé coöperate").split()
SCRIPTS = {
    "chinese": ("的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然"
                "家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机"
                "深度求索模型推理分布式计算集群張龍鳳鑰體龥䶵〇"),
    "japanese": "あいうえおかきくけこさしすせそたちつてとなにぬねのアイウエオカキクケコーガギグゲゴ日本語東京大学々ゝヽ゛゜・ｱｲｳ",
    "korean": "가나다라마바사아자차카타파하한국어대한민국서울안녕하세요ㄱㄴㄷ",
    "russian": "абвгдеёжзийклмнопрстуфхцчшщъыьэюяАБВГДЕЁЖЗИЙ",
    "greek": "αβγδεζηθικλμνξοπρστυφχψωάέήίόύώΑΒΓΔ",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهويءآأؤإئةىًٌٍَُِّْ٠١٢٣٤٥٦٧٨٩",
    "hebrew": "אבגדהוזחטיכלמנסעפצקרשתםןףץְֱֲֳִֵֶַָֹ",
    "hindi": "अआइईउऊएऐओऔकखगघचछजझटठडढणतथदधनपफबभमयरलवशषसहािीुूेैोौ्ंँ०१२३४५६७८९",
    "thai": "กขฃคฅฆงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรลวศษสหฬอฮะัาำิีึืุูเแโใไ็่้๊๋์๐๑๒๓",
    "georgian": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰᲐᲑᲒ",
    "vietnamese": "aăâbcdđeêghiklmnoôơpqrstuưvxyáàảãạấầẩẫậắằẳẵặ",
    "tamil": "அஆஇஈஉஊஎஏஐஒஓஔகஙசஞடணதநபமயரலவழளறனாிீுூெேைொோௌ்",
    "ethiopic": "ሀሁሂሃሄህሆለሉሊላሌልሎ፩፪፫",
}
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + list("，。！？；：“”‘’（）《》【】、…—～·「」『』¿¡«»‹›€£¥§©®™°±×÷≠≤≥∞∑√∂")
SPACES = [" ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", " \n", "\n ", "\u00a0", "\u1680", "\u2000", "\u2003", "\u2009",
          "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u0085", "\v", "\f", "\u200b", "\ufeff", "\u180e"]
NUMBERS = ["0", "7", "42", "123", "1234", "12345", "3.14", "1e-9", "0x1F", "1,000,000", "٣٤٥", "１２３４", "½", "Ⅷ", "²³", "一二三",
           "①②", "𝟘𝟙𝟚𝟛", "०१२३", "10%", "-5", "+7", "2026-11-23", "12:34:56", "1/2", "192.168.0.1"]
EMOJI = ["😀", "🎉", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇨🇳", "❤️", "☎️", "1️⃣", "🧑🏿‍🚀", "🤷‍♀️", "🫠", "✨", "🀄", "👩‍❤️‍💋‍👨", "#️⃣"]
MARKS = ["\u0301", "\u0308", "\u0327", "\u20dd", "\ufe0f", "\u0345", "\u1ab0", "\u0489", "\u3099", "\u05b0", "\u0940"]
CONTROLS = [chr(i) for i in range(0x20)] + ["\x7f", "\x80", "\x9f", "\u200d", "\u200e", "\u202e", "\u2066", "\ufff9", "\ufffd",
                                           "\ufffe", "\U000e0001", "\U000e0061", "\ue000", "\U0010ffff"]
CODE = [
    "def {a}({b}, *args, **kwargs):\n    \"\"\"{c}\"\"\"\n    return [{b} for {b} in range({n}) if {b} % 2 == 0]\n",
    "#include <vector>\ntemplate <typename T>\nauto {a}(std::vector<T>&& {b}) -> T {{ return {b}[{n}] << 2; }}\n",
    "fn {a}<'a>({b}: &'a str) -> Result<u32, Box<dyn Error>> {{\n\tOk({b}.parse::<u32>()? + {n})\n}}\n",
    "func ({b} *{a}) Serve(ctx context.Context) error {{\n\tfor i := 0; i < {n}; i++ {{ go {b}.run(i) }}\n\treturn nil\n}}\n",
    "const {a} = async ({b}) => {{ const r = await fetch(`/api/${{{b}}}?n={n}`); return r?.json() ?? null; }};\n",
    "public static final int {a} = {n}; // {c}\r\nMap<String, List<Integer>> {b} = new HashMap<>();\r\n",
    "SELECT {a}, COUNT(*) AS n FROM {b} WHERE id >= {n} AND name LIKE '%{c}%' GROUP BY 1 ORDER BY 2 DESC;\n",
    "<div class=\"{a}\" id='{b}'><!-- {c} --><a href=\"https://example.org/?q={n}&amp;x=1\">{c}</a></div>\n",
    "#!/bin/bash\nset -euo pipefail\nfor {b} in \"${{{a}[@]}}\"; do echo \"$(({n} + 1))\" | grep -E '^[0-9]+$' >&2; done\n",
    "{{\"{a}\": [{n}, -1.5e+10, null, true], \"{b}\": {{\"{c}\": \"\\u00e9\\n\"}}}}",
    "{a}:\n  - name: {b}\n    when: \"{{{{ {c} is defined }}}}\"\n    loop: [{n}]\n",
    "\\begin{{equation}} \\frac{{{a}_{n}}}{{\\sqrt{{{b}}}}} = \\sum_{{i=0}}^{{n}} x_i^2 \\end{{equation}}\n",
    "{a} :: (Ord b) => [b] -> Maybe b\n{a} ({b}:_) | {b} > {n} = Just $ {b} <> mempty\n",
    "CREATE OR REPLACE FUNCTION {a}() RETURNS trigger AS $$ BEGIN NEW.{b} := {n}; END; $$ LANGUAGE plpgsql;\n",
    "cmake_minimum_required(VERSION 3.{n})\nadd_library({a} STATIC ${{{b}_SOURCES}}) # {c}\n",
    "module {a} #(parameter W={n}) (input wire [W-1:0] {b}, output reg q); always @(posedge clk) q <= ^{b}; endmodule\n",
    "@{a}\nclass {b}(val x: Int = {n}) {{ override fun toString() = \"$x {c}\" }}\n",
    "  mov   rax, [rbp-{n}]\n  vfmadd231ps zmm0, zmm1, zmm2 ; {c}\n.L{a}:\n\tjne .L{b}\n",
    "| {a} | {b} |\n|:---|---:|\n| `{c}` | **{n}** |\n\n- [ ] _todo_ ~~done~~\n> quote\n",
    "(defun {a} ({b}) (let ((x {n})) `(,x ,@{b} . nil))) ; {c}\n",
    "{a} <- function({b}, ...) {{ {b} %>% filter(x != {n}) |> summary() }}\n",
    "using var {b} = new {a}<int?>(); var s = $\"{{{b}:X8}} {c}\" + @\"C:\\dir\\{n}\";\n",
    "$this->{a}['{b}'] = <<<EOT\n{c} {n}\nEOT;\n",
    "diff --git a/{a}.c b/{a}.c\n@@ -{n},7 +{n},8 @@\n-\tint {b};\n+\tint  {b} = 0;\n",
]


def _word(rng: random.Random) -> str:
    word = rng.choice(ENGLISH)
    return rng.choice((word, word, word.capitalize(), word.upper(), word.title() + rng.choice(ENGLISH).title()))


def _script_text(rng: random.Random, script: str) -> str:
    letters = SCRIPTS[script]
    words = ("".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(rng.randint(1, 12)))
    joiner = rng.choice(("", "，", "。")) if script in ("chinese", "japanese") else " "
    return joiner.join(words) + rng.choice(("", "。", ".", "!", "？"))


def _english(rng: random.Random) -> str:
    pieces = []
    for _ in range(rng.randint(1, 25)):
        pieces.append(_word(rng))
        pieces.append(rng.choices([" ", ", ", ". ", "; ", " - ", "\n", "'s ", "  ", ""], [20, 3, 3, 1, 1, 1, 1, 1, 1])[0])
    return "".join(pieces)


def _code(rng: random.Random) -> str:
    def name() -> str:
        return rng.choice(("_", "", "m_", "__")) + rng.choice(("_", "", "2")).join(rng.choices(ENGLISH[:90], k=2))

    return "".join(rng.choice(CODE).format(a=name(), b=name(), c=_word(rng), n=rng.randint(0, 99999))
                   for _ in range(rng.randint(1, 3)))


def _assigned_code_points() -> list[int]:
    """Every assigned code point but surrogates, as this Python's Unicode tables know them."""
    return [i for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)) not in ("Cs", "Cn", "Co")]


def _runs(rng: random.Random) -> str:
    unit = rng.choice(["a", "Z", "é", "中", "の", "7", "٣", " ", "\n", "\t", "\r\n", ".", "!", "=", "-", "_", "😀", "\u0301",
                       "\u3000", "ab", " a", "1 ", "\n ", " \n", "。", "が", "/", "\\", "\x00", "、", "́a"])
    return rng.choice(("", "x", " ", "9")) + unit * rng.choice((2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 64, 127, 300)) + rng.choice(
        ("", "x", " ", "\n", "5"))


def _mixed(rng: random.Random, alphabet: list[str]) -> str:
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(2, 24)))


def _contexts(token: str, rng: random.Random) -> list[str]:
    around = rng.choice([("a", "b"), (" ", " "), ("\n", "\n"), ("中", "文"), ("1", "2"), (".", "!"), (token, ""), ("", "")])
    return [around[0] + token + around[1]]


def build(seed: int, added_tokens: list[str]) -> list[str]:
    """Distinct strings in a fixed order; each of `added_tokens` occurs in at least one."""
    rng = random.Random(seed)
    code_points = _assigned_code_points()
    small = [*PUNCTUATION, *SPACES, *NUMBERS, *EMOJI, *MARKS, *CONTROLS, *ENGLISH[:60], *"aZéß中の한яא9"]
    strings = ["", " ", "\n", "Hello, world!", "你好，世界！", "<think>\n", "</think>", "<|EOT|>", "<｜User｜", "｜User｜>", "< think>",
               "<｜begin▁of▁sentence", "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜><think>\n", "<<think>>", "<｜tool▁sep｜",
               "Führer", "ø ö ú ÿ À Á þ ü"]
    strings += SPACES + CONTROLS + MARKS + NUMBERS + EMOJI + PUNCTUATION
    strings += [space + other for space in SPACES[:18] for other in ("a", "1", ".", "中", "\n", " ")]
    strings += [letter + mark + tail for letter in "ae中1 ." for mark in MARKS[:6] for tail in ("", "b")]
    for token in added_tokens:
        strings += _contexts(token, rng)
    strings += [_english(rng) for _ in range(300)]
    strings += [_code(rng) for _ in range(400)]
    strings += [_script_text(rng, script) for script in SCRIPTS for _ in range(30)]
    strings += [_runs(rng) for _ in range(250)]
    strings += [_mixed(rng, small) for _ in range(500)]
    strings += [_mixed(rng, [*SPACES, "a", "1", ".", "中"]) for _ in range(200)]
    strings += ["".join(chr(rng.choice(code_points)) for _ in range(rng.randint(1, 16))) for _ in range(250)]
    strings += ["".join(chr(i) for i in range(start, start + 64) if unicodedata.category(chr(i)) not in ("Cs", "Cn", "Co"))
                for start in range(0, 0x3400, 64)]
    tokens = added_tokens or [""]
    strings += [_mixed(rng, [*small, *rng.choices(tokens, k=40)]) for _ in range(100)]
    return list(dict.fromkeys(strings))
