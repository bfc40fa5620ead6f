"""Labelling in the browser: `server` opens the port, `door` lets in, `app` answers, `contents` shows items.

The page itself (`page/`) is one file each of HTML, CSS and JavaScript, without anything from elsewhere.
"""
