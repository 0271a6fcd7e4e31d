"""The program: command line, settings, private servers, logging. The only floor that reads the environment."""
