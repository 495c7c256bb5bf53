"""labkit's part in JupyterHub: the spawner, its pages, and the hub's configuration.

Imported by the hub alone; it never imports torch, Ray or what runs in a session.
"""
