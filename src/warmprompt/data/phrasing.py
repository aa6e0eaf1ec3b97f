"""The words of user texts: sentence frames, genre words, connectives, in two disjoint sets.

`training` phrasings may be met while learning. `heldout` ones never are: frames, genre words,
qualifiers and connectives; they were written before any result was seen and only measure
whether new wording is understood. {likes} is a list of likes, {who} for a noun phrase
about a person, {a_who} for the same with its article.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Frames = Literal["training", "heldout"]


@dataclass(frozen=True, kw_only=True)
class Wording:
    """One set of phrasings.

    Attributes:
        tastes: Frames for a list of likes, of any kind of thing.
        film_tastes: Frames that speak of watching, used when all likes are film genres.
        attributes: Frames for a noun phrase about a person.
        people: Orders of age, gender and occupation inside that noun phrase.
        joins: How the last two likes are joined.
        qualifiers: May stand before the first like.
    """

    tastes: tuple[str, ...]
    film_tastes: tuple[str, ...]
    attributes: tuple[str, ...]
    people: tuple[str, ...]
    joins: tuple[str, ...]
    qualifiers: tuple[str, ...]


WORDINGS: dict[Frames, Wording] = {
    "training": Wording(
        tastes=(
            "I like {likes}.",
            "I love {likes}.",
            "I really like {likes}.",
            "I really love {likes}!",
            "I enjoy {likes}.",
            "I prefer {likes}.",
            "I adore {likes}.",
            "I mostly like {likes}.",
            "I usually go for {likes}.",
            "I am a fan of {likes}.",
            "I'm a big fan of {likes}.",
            "I'm into {likes}.",
            "I have always liked {likes}.",
            "I can't get enough of {likes}.",
            "I am fond of {likes}.",
            "I am interested in {likes}.",
            "I am looking for {likes}.",
            "I'm in the mood for {likes}.",
            "I would like some {likes}.",
            "I'd like to find more {likes}.",
            "I want {likes}.",
            "My favourites are {likes}.",
            "My taste: {likes}.",
            "My favourite kind is {likes}.",
            "Mostly {likes}.",
            "Mostly {likes} for me.",
            "Give me {likes}.",
            "Show me {likes}.",
            "Please recommend {likes}.",
            "Can you recommend {likes}?",
            "Any {likes}?",
            "More {likes}, please.",
            "Looking for {likes}.",
            "Likes {likes}.",
            "Favourites: {likes}.",
            "Interests: {likes}.",
            "Fan of {likes}.",
            "She likes {likes}.",
            "He likes {likes}.",
            "She loves {likes}.",
            "He is a fan of {likes}.",
            "They enjoy {likes}.",
            "This user likes {likes}.",
            "This person prefers {likes}.",
            "The user is interested in {likes}.",
            "A person who enjoys {likes}.",
            "Someone who loves {likes}.",
            "{likes}",
        ),
        film_tastes=(
            "I like to watch {likes}.",
            "I mostly watch {likes}.",
            "I want to watch {likes}.",
            "I grew up watching {likes}.",
            "He watches a lot of {likes}.",
            "She often watches {likes}.",
        ),
        attributes=(
            "{who}",
            "{who}.",
            "I am {a_who}.",
            "I'm {a_who}.",
            "Me: {who}.",
            "About me: {who}.",
            "User: {who}.",
            "Profile: {who}.",
            "The user is {a_who}.",
            "This user is {a_who}.",
            "This person is {a_who}.",
            "This is {a_who}.",
            "A user, {who}.",
            "He or she is {a_who}.",
            "They are {a_who}.",
            "New user: {who}.",
            "Recommend something for {a_who}.",
            "Suggestions for {a_who}.",
            "What would {a_who} like?",
            "Here is {a_who}.",
            "Description: {who}.",
            "Person: {who}.",
            "We have {a_who}.",
            "Looking for ideas for {a_who}.",
        ),
        people=(
            "{age_adjective} {gender} {occupation}",
            "{age_adjective} {occupation}, {gender}",
            "{gender} {occupation}, {age_aside}",
            "{occupation}, {gender}, {age_aside}",
            "{gender} {occupation} aged {age}",
        ),
        joins=(" and ", " and ", " or ", " & ", " and also ", ", "),
        qualifiers=(
            "good",
            "great",
            "classic",
            "modern",
            "old",
            "new",
            "clever",
            "popular",
            "unusual",
            "well-made",
        ),
    ),
    "heldout": Wording(
        tastes=(
            "Nothing beats {likes}.",
            "I have a soft spot for {likes}.",
            "{likes}: that is what makes me happy.",
            "My evenings belong to {likes}.",
            "You will win me over with {likes}.",
            "I could live on {likes} alone.",
            "What I crave is {likes}.",
            "Surprise me with {likes}.",
            "Do you have anything like {likes}?",
            "When it comes to {likes}, count me in.",
            "Ever since childhood it has been {likes}.",
            "I keep coming back to {likes}.",
            "There is never too much {likes} in our house.",
            "Tonight it has to be {likes}.",
            "My shelves are full of {likes}.",
            "Ask my friends: it is always {likes}.",
            "My sister is crazy about {likes}.",
            "Her guilty pleasure? {likes}.",
            "His weakness is {likes}.",
            "The customer keeps asking after {likes}.",
            "Our guest has a passion for {likes}.",
            "For a devotee of {likes}.",
            "Would suit an admirer of {likes}.",
            "Hooked on {likes}.",
        ),
        film_tastes=(
            "I spend my weekends in the cinema with {likes}.",
            "Popcorn, a sofa, and {likes}.",
            "My watch list is all {likes}.",
            "We put on {likes} every Friday night.",
        ),
        attributes=(
            "Speaking is {a_who}.",
            "Imagine {a_who}.",
            "Let me introduce myself: {who}.",
            "The customer in front of you: {who}.",
            "Picks made for {a_who}, please.",
            "My neighbour, {a_who}, asks for a tip.",
            "Signed up today: {who}.",
            "Visitor card, {who}.",
            "Suppose you meet {a_who}.",
            "For {a_who} who has just arrived.",
        ),
        people=(
            "{occupation} who is {gender} and {age_words}",
            "{occupation}, {age_words}, {gender}",
            "{occupation} ({gender}, {age_words})",
        ),
        joins=(" as well as ", " along with ", " plus ", ", sometimes ", ", or failing that "),
        qualifiers=("timeless", "brilliant", "offbeat", "vintage", "first-rate", "memorable"),
    ),
}

# Film genre -> (words for training, words held out). Keys are what `genre_key` makes of a name.
FILM_GENRES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "action": (
        ("action", "action films", "action movies"),
        ("car chases and explosions", "blockbusters full of stunts"),
    ),
    "adventure": (
        ("adventure", "adventure films", "adventure stories"),
        ("daring expeditions", "quests to far-off places"),
    ),
    "animation": (("animation", "animated films", "cartoons"), ("hand-drawn features", "anime and the like")),
    "children": (
        ("children's films", "kids' movies", "family films"),
        ("things to watch with a toddler", "bedtime stories for little ones"),
    ),
    "comedy": (
        ("comedy", "comedies", "funny films"),
        ("things that make people laugh", "humour and silly jokes"),
    ),
    "crime": (("crime", "crime films", "crime stories"), ("gangster tales", "heists and the mafia")),
    "documentary": (
        ("documentaries", "documentary films", "real-life stories"),
        ("non-fiction", "factual reports about the world"),
    ),
    "drama": (
        ("drama", "dramas", "serious dramas"),
        ("moving character studies", "emotional, weighty stories"),
    ),
    "fantasy": (
        ("fantasy", "fantasy films", "magic and fantasy"),
        ("wizards and dragons", "fairy-tale worlds"),
    ),
    "noir": (
        ("film noir", "noir films", "old noir thrillers"),
        ("shadowy black-and-white detective pictures", "hard-boiled private eyes of the forties"),
    ),
    "horror": (
        ("horror", "horror films", "scary movies"),
        ("ghosts and slashers", "things that give you nightmares"),
    ),
    "musical": (
        ("musicals", "musical films", "song and dance"),
        ("Broadway on screen", "people bursting into song"),
    ),
    "mystery": (("mystery", "mysteries", "mystery films"), ("whodunits", "puzzles with a detective")),
    "romance": (
        ("romance", "romantic films", "love stories"),
        ("tales of falling in love", "weepies about couples"),
    ),
    "scifi": (
        ("science fiction", "sci-fi", "sci-fi films", "science fiction movies"),
        ("futuristic stories", "spaceships and robots", "space operas"),
    ),
    "thriller": (("thrillers", "thriller films", "suspense"), ("edge-of-your-seat plots", "nail-biters")),
    "war": (
        ("war films", "war movies", "war stories"),
        ("battlefield epics", "tales of soldiers at the front"),
    ),
    "western": (("westerns", "western films", "cowboy movies"), ("gunslingers and saloons", "the Wild West")),
}

GENRE_ALIASES = {
    "childrens": "children",
    "kids": "children",
    "family": "children",
    "filmnoir": "noir",
    "sciencefiction": "scifi",
    "sf": "scifi",
    "animated": "animation",
    "comedies": "comedy",
    "documentaries": "documentary",
    "thrillers": "thriller",
    "westerns": "western",
    "musicals": "musical",
}

# Occupations of MovieLens that are no noun for one person.
OCCUPATION_NOUNS = {
    "academic/educator": "academic",
    "clerical/admin": "office clerk",
    "college/grad student": "college student",
    "customer service": "customer service worker",
    "doctor/health care": "health care worker",
    "entertainment": "entertainment worker",
    "executive/managerial": "executive",
    "healthcare": "health care worker",
    "marketing": "marketing specialist",
    "retired": "retired person",
    "sales/marketing": "sales and marketing specialist",
    "self-employed": "self-employed person",
    "technician/engineer": "technician",
    "tradesman/craftsman": "craftsman",
    "unemployed": "unemployed person",
}
