# Each function: a rule for what it takes, a queue, the function on that queue, and a queue for what it could not do.

resource "aws_cloudwatch_event_rule" "function" {
  for_each       = var.functions
  name           = "${local.name}-${each.key}"
  description    = "What ${each.key} takes"
  event_bus_name = aws_cloudwatch_event_bus.this.name
  event_pattern  = jsonencode({ "detail-type" = each.value.event_types })
  tags           = local.tags
}

resource "aws_cloudwatch_event_target" "function" {
  for_each       = var.functions
  rule           = aws_cloudwatch_event_rule.function[each.key].name
  event_bus_name = aws_cloudwatch_event_bus.this.name
  target_id      = each.key
  arn            = aws_sqs_queue.function[each.key].arn

  dead_letter_config {
    arn = aws_sqs_queue.function_dead_letters[each.key].arn
  }
}

resource "aws_sqs_queue" "function" {
  for_each                  = var.functions
  name                      = "${local.name}-${each.key}"
  message_retention_seconds = var.message_retention_days * 86400
  # Six times the function's own, as AWS asks: a batch must not come back while it is worked on.
  visibility_timeout_seconds = each.value.timeout_seconds * 6
  sqs_managed_sse_enabled    = true
  tags                       = local.tags
}

resource "aws_sqs_queue_redrive_policy" "function" {
  for_each  = var.functions
  queue_url = aws_sqs_queue.function[each.key].id
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.function_dead_letters[each.key].arn
    maxReceiveCount     = 12
  })
}

resource "aws_sqs_queue" "function_dead_letters" {
  for_each                  = var.functions
  name                      = "${local.name}-${each.key}-dead-letters"
  message_retention_seconds = 14 * 86400
  sqs_managed_sse_enabled   = true
  tags                      = local.tags
}

data "aws_iam_policy_document" "function_queue" {
  for_each = merge(
    { for name, _ in var.functions : name => { queue = aws_sqs_queue.function[name].arn, rule = name } },
    { for name, _ in var.functions : "${name}-dead-letters" => { queue = aws_sqs_queue.function_dead_letters[name].arn, rule = name } },
  )

  statement {
    sid       = "RuleSends"
    actions   = ["sqs:SendMessage"]
    resources = [each.value.queue]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.function[each.value.rule].arn]
    }
  }

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [each.value.queue]
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

resource "aws_sqs_queue_policy" "function" {
  for_each  = var.functions
  queue_url = aws_sqs_queue.function[each.key].id
  policy    = data.aws_iam_policy_document.function_queue[each.key].json
}

resource "aws_sqs_queue_policy" "function_dead_letters" {
  for_each  = var.functions
  queue_url = aws_sqs_queue.function_dead_letters[each.key].id
  policy    = data.aws_iam_policy_document.function_queue["${each.key}-dead-letters"].json
}

resource "aws_cloudwatch_log_group" "function" {
  for_each          = var.functions
  name              = "/aws/lambda/${local.name}-${each.key}"
  retention_in_days = var.log_retention_days
  tags              = local.tags
}

# Where the package is missing, what is there can still be destroyed.
resource "aws_lambda_function" "this" {
  for_each                       = var.functions
  function_name                  = "${local.name}-${each.key}"
  description                    = "gocoffee function ${each.key}"
  role                           = aws_iam_role.function[each.key].arn
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  filename                       = "${var.packages}/${each.key}-aws.zip"
  source_code_hash               = try(filebase64sha256("${var.packages}/${each.key}-aws.zip"), null)
  memory_size                    = each.value.memory_mb
  timeout                        = each.value.timeout_seconds
  reserved_concurrent_executions = each.value.reserved_concurrency
  tags                           = local.tags

  environment {
    variables = merge({ OUTPUT_URL = var.output_url }, each.value.environment)
  }
  tracing_config {
    mode = "Active"
  }
  lifecycle {
    precondition {
      condition     = startswith(var.output_url, "https://")
      error_message = "A function needs output_url, the https:// address of the router's source: replies have nowhere to go without it."
    }
    precondition {
      condition     = fileexists("${var.packages}/${each.key}-aws.zip")
      error_message = "The package ${each.key}-aws.zip is not in the folder packages: run `cargo xtask package ${each.key} --cloud aws`."
    }
  }
  depends_on = [aws_cloudwatch_log_group.function, aws_iam_role_policy.function]
}

resource "aws_lambda_event_source_mapping" "function" {
  for_each                           = var.functions
  event_source_arn                   = aws_sqs_queue.function[each.key].arn
  function_name                      = aws_lambda_function.this[each.key].arn
  batch_size                         = 10
  maximum_batching_window_in_seconds = 0
  # Without it Lambda takes the list of failed messages for a success of all, and they are gone.
  function_response_types = ["ReportBatchItemFailures"]
  scaling_config {
    maximum_concurrency = max(each.value.concurrency_max, 2)
  }
}

resource "aws_lambda_function_event_invoke_config" "function" {
  for_each                     = var.functions
  function_name                = aws_lambda_function.this[each.key].function_name
  maximum_event_age_in_seconds = 21600
  maximum_retry_attempts       = 2

  destination_config {
    on_failure {
      destination = aws_sqs_queue.function_dead_letters[each.key].arn
    }
  }
}
