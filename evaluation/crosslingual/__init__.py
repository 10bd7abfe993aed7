"""Zero-shot cross-lingual transfer: 113 instructions in four languages, their surface metrics, judge and modifiers."""
