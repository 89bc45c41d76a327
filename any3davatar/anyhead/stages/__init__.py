"""The stages of ``AI_Generated_Heads_Dataset`` after the prompt, and their back ends."""
