# An example for users of Terraform, not tried: the same stack as `shoal deploy` makes, from the same template.
# Give it the parameters of ami/stack.yaml that you want; `shoal destroy` knows nothing of Terraform's state.
variable "prefix" {
  type        = string
  description = "The first part of all names; bucket names are worldwide."
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  type        = list(string)
  description = "Subnets with a way to the internet, in two zones."
}

variable "parameters" {
  type        = map(string)
  default     = {}
  description = "Further parameters of the template, such as WebTier, WebImage, Visitors, AlarmEmail."
}

resource "aws_cloudformation_stack" "shoal" {
  name = var.prefix
  # Without the comments: CloudFormation takes 51,200 bytes.
  template_body = replace(file("${path.module}/../stack.yaml"), "/(?m)^ *# .*\n/", "")
  capabilities  = ["CAPABILITY_NAMED_IAM"]
  tags          = { shoal = var.prefix }

  parameters = merge(
    {
      Prefix    = var.prefix
      VpcId     = var.vpc_id
      SubnetIds = join(",", var.subnet_ids)
      WebImage  = ""
    },
    var.parameters,
  )
}

output "page" {
  value = lookup(aws_cloudformation_stack.shoal.outputs, "Page", "")
}
