"""The API's routes, one file a resource, and the parameters that they share."""
