"""Being a Space: an engine behind `/infer`, and what an upload to Hugging Face needs."""
