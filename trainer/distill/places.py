"""Places: names of which one stands for another of its kind where none must decide.

A disaster is one wherever it happens, and labelled tweets are of the few places where there was one
at the time. Three kinds: cities, parts of countries, and countries.
"""

CHANGED = tuple(
    tuple(names.split(", "))
    for names in (
        "Berlin, Dublin, Karachi, Cairo, Nairobi, Dallas, Miami, Phoenix, Atlanta, Vancouver, "
        "Montreal, Perth, Jakarta, Bangkok, Istanbul, Rome, Vienna, Lisbon, Portland, Detroit, "
        "Glasgow, Baghdad, Hanoi, Dhaka, Osaka, Brussels, Winnipeg, Memphis, San Diego, Bogota",
        "Nevada, Georgia, Iowa, Montana, Nebraska, Louisiana, Maryland, Manitoba, Saskatchewan, "
        "Hawaii, Alaska, Idaho, Wyoming, Maine, Tennessee, Kentucky, Illinois, New Jersey, Indiana",
        "France, Turkey, Iraq, Syria, Egypt, Ghana, Vietnam, Thailand, Poland, Portugal, Sweden, "
        "Argentina, Colombia, Haiti, Bangladesh, Afghanistan, Iran, Ukraine, Norway, Sri Lanka",
    )
)
"""In variants of training texts, by `trainer.distill.augment`."""

TESTED = tuple(
    tuple(names.split(", "))
    for names in (
        "London, Chicago, Toronto, Sydney, Delhi, Lagos, Manila, Madrid, Seattle, Los Angeles, "
        "New York, Houston, Boston, Mumbai, Paris, Tokyo, Melbourne, Calgary, Denver, Brisbane",
        "California, Texas, Florida, Ohio, Oregon, Alabama, Queensland, Ontario, Colorado, "
        "Virginia, Arizona, Oklahoma, Alberta, Kansas, Missouri, Tasmania, Utah, Michigan",
        "India, Japan, Canada, Mexico, Kenya, Pakistan, Brazil, Italy, Nepal, Nigeria, China, "
        "Australia, Indonesia, Chile, Greece, Spain, Malaysia, Saudi Arabia, Germany, Peru",
    )
)
"""By `trainer.evaluate.behaviour`, in texts that training did not see."""

SWAPPED = tuple(
    frozenset(name.lower() for name in some + others if " " not in name)
    for some, others in zip(CHANGED, TESTED, strict=True)
)
"""In lower case, for each other in the batches of training, by `trainer.fit.loop`. The tested ones
are among them: what a network has learned of a name, other names do not make it forget."""
