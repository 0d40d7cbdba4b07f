"""Names of places that are replaced by others of their kind, so that none of them decides.

A disaster is one wherever it happens, but labelled tweets name only the places where there was one
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
"""Those that `trainer.distill.augment` puts into variants of the training texts."""

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
"""Those that `trainer.evaluate.behaviour` puts into texts that training did not see."""

SWAPPED = tuple(
    frozenset(name.lower() for name in some + others if " " not in name)
    for some, others in zip(CHANGED, TESTED, strict=True)
)
"""Those that `trainer.fit.inputs` swaps in the batches of training, in lower case. They include the
tested ones, because a network does not forget one name when it learns about others."""
