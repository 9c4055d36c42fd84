"""The English names of months and weekdays, whatever the locale of the machine."""

from __future__ import annotations

MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS_HEARD = tuple(month.lower() for month in MONTHS)
"""As they stand in words that were put into small letters to be understood."""
WEEKDAYS_HEARD = tuple(day.lower() for day in WEEKDAYS)
