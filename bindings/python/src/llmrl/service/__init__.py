"""``llmrl serve``: a rate-limited service in front of OpenAI-compatible upstreams.

A request passes the limits of its user, of its model and of all requests together, then those of the upstream that admits it
soonest. What the configuration says (``config``), what is built from it (``plan``) and who is admitted (``admission``) need nothing
but the standard library; ``app`` and what it imports need the ``service`` extra.
"""
