"""What the Lambda function does with an event."""
