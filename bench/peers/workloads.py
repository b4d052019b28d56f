"""The texts that `modelpool bench embed` measures with (bench/embed_figures.cpp), for its peers."""

import math

WORDS = ("time people year way day man thing world life hand part child eye place work week case point house "
         "water small large red green river stone wind light under over the and").split()
COUNTS = {"one_text": 1, "short": 1024, "mixed": 512, "long": 128}


class Draws:
    def __init__(self):
        self.state = 42

    def next(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2 ** 64
        return self.state >> 33

    def normal(self):
        return sum(self.next() / 2 ** 31 for _ in range(12)) - 6


def length_of(name, draws):
    if name == "short":
        return 3 + draws.next() % 63
    if name == "mixed":
        return min(max(int(math.exp(3.71 + 0.75 * draws.normal())), 3), 256)
    return {"one_text": 8, "long": 256}[name]


def texts_of(name):
    draws = Draws()
    texts = []
    for _ in range(COUNTS[name]):
        n_tokens = length_of(name, draws)  # two of them special
        texts.append(" ".join(WORDS[draws.next() % len(WORDS)] for _ in range(2, n_tokens)))
    return texts
