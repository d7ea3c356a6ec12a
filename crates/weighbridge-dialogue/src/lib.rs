//! Text to and from a model: chat templates, tool-call formats.
