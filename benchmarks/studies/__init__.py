"""Questions of their own: STEER on a domain, judging, languages, evidence, arithmetic sampling."""
