# The bus, and the way from it to the router: a rule, a queue that the router pulls from, and a queue for what could not be
# put there or was tried too often.

resource "aws_cloudwatch_event_bus" "this" {
  name = local.name
  tags = local.tags
}

resource "aws_sqs_queue" "router" {
  name                       = "${local.name}-router"
  message_retention_seconds  = var.message_retention_days * 86400
  visibility_timeout_seconds = 60
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = true
  tags                       = local.tags
}

# The router deletes a message once its event is durable; one that comes back so often is not readable for it.
resource "aws_sqs_queue_redrive_policy" "router" {
  queue_url = aws_sqs_queue.router.id
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.router_dead_letters.arn
    maxReceiveCount     = 100
  })
}

resource "aws_sqs_queue" "router_dead_letters" {
  name                      = "${local.name}-router-dead-letters"
  message_retention_seconds = 14 * 86400
  sqs_managed_sse_enabled   = true
  tags                      = local.tags
}

resource "aws_cloudwatch_event_rule" "router" {
  name           = "${local.name}-router"
  description    = "What goes to the router"
  event_bus_name = aws_cloudwatch_event_bus.this.name
  event_pattern = jsonencode(merge(
    { account = [data.aws_caller_identity.this.account_id] },
    local.all ? {} : { "detail-type" = [for beginning in var.event_types : { prefix = beginning }] },
  ))
  tags = local.tags
}

resource "aws_cloudwatch_event_target" "router" {
  rule           = aws_cloudwatch_event_rule.router.name
  event_bus_name = aws_cloudwatch_event_bus.this.name
  target_id      = "router"
  arn            = aws_sqs_queue.router.arn

  dead_letter_config {
    arn = aws_sqs_queue.router_dead_letters.arn
  }
  retry_policy {
    maximum_event_age_in_seconds = 86400
    maximum_retry_attempts       = 185
  }
}

data "aws_iam_policy_document" "router_queue" {
  for_each = {
    router              = aws_sqs_queue.router.arn
    router_dead_letters = aws_sqs_queue.router_dead_letters.arn
  }

  statement {
    sid       = "RuleSends"
    actions   = ["sqs:SendMessage"]
    resources = [each.value]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.router.arn]
    }
  }

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [each.value]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sqs_queue_policy" "router" {
  queue_url = aws_sqs_queue.router.id
  policy    = data.aws_iam_policy_document.router_queue["router"].json
}

resource "aws_sqs_queue_policy" "router_dead_letters" {
  queue_url = aws_sqs_queue.router_dead_letters.id
  policy    = data.aws_iam_policy_document.router_queue["router_dead_letters"].json
}

# By choice EventBridge calls the router itself. The queue is the safer way: it waits for a router that is down.

resource "aws_cloudwatch_event_connection" "router" {
  count              = nonsensitive(var.api_destination != null) ? 1 : 0
  name               = "${local.name}-router"
  authorization_type = "API_KEY"

  auth_parameters {
    api_key {
      key   = "Authorization"
      value = var.api_destination.authorization
    }
  }
}

resource "aws_cloudwatch_event_api_destination" "router" {
  count                            = nonsensitive(var.api_destination != null) ? 1 : 0
  name                             = "${local.name}-router"
  invocation_endpoint              = var.api_destination.url
  http_method                      = "POST"
  invocation_rate_limit_per_second = var.api_destination.per_second_max
  connection_arn                   = aws_cloudwatch_event_connection.router[0].arn
}

resource "aws_cloudwatch_event_target" "api_destination" {
  count          = nonsensitive(var.api_destination != null) ? 1 : 0
  rule           = aws_cloudwatch_event_rule.router.name
  event_bus_name = aws_cloudwatch_event_bus.this.name
  target_id      = "router-push"
  arn            = aws_cloudwatch_event_api_destination.router[0].arn
  role_arn       = aws_iam_role.api_destination[0].arn

  dead_letter_config {
    arn = aws_sqs_queue.router_dead_letters.arn
  }
}
