"""The 15 common and 4 validation corruptions of Hendrycks & Dietterich (2019), with their published constants."""
