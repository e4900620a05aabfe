"""`make fuzz`: requests made from the OpenAPI document, right and wrong ones, and what the service makes of them."""
