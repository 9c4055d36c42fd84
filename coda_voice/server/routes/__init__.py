"""What answers under which address; each module's ``routes(front)`` gives a router."""
