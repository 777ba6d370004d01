output "gocoffee" {
  description = "This cloud's part of the router's configuration."
  value = {
    sources = { aws = { eventbridge = { queue_url = aws_sqs_queue.router.url } } }
    targets = {
      aws-bus = { eventbridge = { bus = aws_cloudwatch_event_bus.this.name, region = data.aws_region.this.name, mapping = "structured" } }
    }
  }
}

output "bus" {
  description = "The ARN of the bus."
  value       = aws_cloudwatch_event_bus.this.arn
}

output "identity" {
  description = "The ARN of the router's role."
  value       = aws_iam_role.router.arn
}

output "archive" {
  description = "What `archive` of the router's configuration says to use the bucket."
  value = {
    to      = "s3://${aws_s3_bucket.archive.bucket}/segments"
    options = { aws_region = data.aws_region.this.name }
  }
}

output "functions" {
  description = "The ARNs of the functions."
  value       = { for name, function in aws_lambda_function.this : name => function.arn }
}

output "dead_letters" {
  description = "Queues that somebody has to look at when anything is in them."
  value = merge(
    { router = aws_sqs_queue.router_dead_letters.url },
    { for name, queue in aws_sqs_queue.function_dead_letters : name => queue.url },
  )
}
