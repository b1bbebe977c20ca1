"""The tests: pure things by tables and properties, the protocol against real servers, the page in a real browser."""
