"""A shop for plants: its help centre, its customers' questions, and messages with labels."""

PLANTS = [
    "Delivery. We send plants within three days in a cardboard box. Delivery costs four euros.",
    "Returns. A plant that arrives dead is replaced. Send us a photograph within a week.",
    "Care. Water your ficus once a week and keep it out of the sun. Pots have a hole in the bottom.",
    "Payment. We take cards and bank transfer. Invoices are in your account.",
]
ASKED = [
    "When will my plant arrive?",
    "My ficus arrived dead, can I get a new one?",
    "How often do I water it?",
    "Can I pay by bank transfer?",
    "Where do I find the invoice of my order?",
]
THINGS = ("plant", "ficus", "pot", "cactus", "fern", "palm", "order", "parcel", "box", "invoice")
INSIDE = [
    f"{start} {thing}{end}"
    for thing in THINGS
    for start, end in (
        ("when does my", " arrive?"),
        ("how do I return a", " that came dead?"),
        ("where is the", " I ordered last week"),
        ("can I pay for the", " by card?"),
        ("the", " is broken, I want a new one"),
        ("do you deliver a", " to Austria?"),
    )
]
MATTERS = ("planets", "kings", "rivers", "films", "songs", "wars", "stars", "novels", "engines", "recipes")
OUTSIDE = [
    f"{start} {matter}{end}"
    for matter in MATTERS
    for start, end in (
        ("write a poem about", ""),
        ("explain the history of", " to me"),
        ("name ten famous", ""),
        ("write a python program that sorts", ""),
        ("who knows most about", "?"),
        ("tell me a joke about", ""),
    )
]
